//! Numbers from outside that ask for more memory than there is: recipes, model files and little memory. Each is refused by a
//! message before the memory is requested, and a process whose memory is limited does not abort.

use crate::support::{
    Ran, Sandbox, TINY, TINY_MODEL, changed, read_safetensors, trainer, with_description, with_header,
};
use serde_json::json;

/// Runs `trainer` with at most `mb` megabytes of address space.
#[cfg(unix)]
#[track_caller]
fn limited(sandbox: &Sandbox, mb: usize, args: &str) -> Ran {
    let whole = trainer(args);
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(format!("ulimit -v {} && exec \"$0\" \"$@\"", mb * 1000));
    command.arg(whole.get_program()).args(whole.get_args());
    whole.get_envs().filter(|(_, value)| value.is_none()).for_each(|(name, _)| {
        command.env_remove(name);
    });
    sandbox.start_command(command, &format!("trainer {args}, in {mb} MB")).wait()
}

/// Runs of all commands that open a model are refused with all of `parts`, in little memory.
#[cfg(unix)]
fn no_command_opens_it(sandbox: &Sandbox, file: &str, parts: &[&str]) {
    for args in ["eval FILE", "predict FILE picture.png", "export FILE --out x.onnx", "summary FILE"] {
        limited(sandbox, 1500, &args.replace("FILE", file)).fails(parts);
    }
}

#[test]
fn sizes_in_recipes_are_refused_by_key() {
    let sandbox = Sandbox::new();
    let cases: [(&str, &[&str]); 7] = [
        ("model.dense=1000000000000", &["model.dense: expected 1 to 65536, found 1000000000000"]),
        ("model.widths=[4,4,8,1000000000]", &["model.widths: expected 1 to 65536, found 1000000000"]),
        ("model.widths=[4,4,8,0]", &["model.widths: expected 1 to 65536, found 0"]),
        ("model.input_px=[1000000000,32]", &["model.input_px", "expected 1 to 4096 rows and columns"]),
        ("model.widths=[4,4,8,65536] --set model.dense=65536", &["would have more than 2147483648 values"]),
        ("epochs=9223372036854775807", &["epochs must be at most 1000000000"]),
        ("evaluation.shift_px=9223372036854775807", &["evaluation.shift_px must be at most 4096"]),
    ];
    for (set, parts) in cases {
        sandbox.trainer(&changed(TINY_MODEL, &format!("--set {set}"))).fails(parts);
    }
    assert!(sandbox.everything().is_empty(), "{:?}", sandbox.everything());
    // more images than there are make one batch of all
    let one_batch = TINY.replace("--batch-size 16", "--batch-size 9223372036854775807");
    sandbox.trainer(&format!("{one_batch} --run-dir run")).ok();
}

/// The table of a network in a file of 30 kB, changed so that the network would take up to 8 GB: nothing of that is requested.
#[cfg(unix)]
#[test]
fn a_model_file_cannot_describe_more_than_it_holds() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    let model = sandbox.read("run/model.safetensors");
    sandbox.write("picture.png", crate::drawn::picture(0, 0));
    let write = |change: &dyn Fn(&mut serde_json::Value)| {
        sandbox.write("changed.safetensors", with_description(&model, |description| change(description)));
    };
    write(&|d| d["model"]["dense"] = json!(65_536));
    let misfit =
        ["changed.safetensors", "do not fit this network", "has the shape [8, 512], expected [65536, 512]"];
    no_command_opens_it(&sandbox, "changed.safetensors", &misfit);
    write(&|d| d["model"]["widths"] = json!([4, 4, 65_536, 3000]));
    no_command_opens_it(&sandbox, "changed.safetensors", &["changed.safetensors", "do not fit this network"]);
    write(&|d| d["model"]["input_px"] = json!([4096, 4096]));
    no_command_opens_it(&sandbox, "changed.safetensors", &["changed.safetensors", "do not fit this network"]);
    write(&|d| d["model"]["dense"] = json!(1_000_000_000_000u64));
    no_command_opens_it(
        &sandbox,
        "changed.safetensors",
        &["changed.safetensors", "model.dense: expected 1 to 65536"],
    );
    write(&|d| d["model"]["input_px"] = json!([1_000_000_000, 32]));
    no_command_opens_it(&sandbox, "changed.safetensors", &["changed.safetensors", "expected 1 to 4096 rows"]);
    write(&|d| d["preprocess"]["size_px"] = json!([65_535, 65_535]));
    no_command_opens_it(
        &sandbox,
        "changed.safetensors",
        &["changed.safetensors", "expected at most 4096 rows"],
    );
    write(&|d| d["preprocess"]["size_px"] = json!([0, 32]));
    no_command_opens_it(&sandbox, "changed.safetensors", &["changed.safetensors", "size_px"]);
    write(&|d| d["evaluation"] = json!({"shift_px": u64::MAX / 2}));
    no_command_opens_it(
        &sandbox,
        "changed.safetensors",
        &["changed.safetensors", "evaluation.shift_px must be at most"],
    );
    write(&|d| d["std"] = json!([0.0, 1.0, 1.0]));
    no_command_opens_it(&sandbox, "changed.safetensors", &["changed.safetensors", "deviations above 0"]);

    // a header that lies about the data
    let (mut header, _) = read_safetensors(&model);
    header["classifier.0.weight"]["shape"] = json!([1u64 << 62, 4]);
    sandbox.write("changed.safetensors", with_header(&model, &header));
    no_command_opens_it(&sandbox, "changed.safetensors", &["changed.safetensors", "its header"]);
    let mut long = model.clone();
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    sandbox.write("changed.safetensors", &long);
    no_command_opens_it(
        &sandbox,
        "changed.safetensors",
        &["changed.safetensors", "its header has 18446744073709551615 bytes"],
    );

    limited(&sandbox, 1500, "predict run picture.png").ok();
}

/// What cannot fit is refused before it is requested; what is refused by the system ends with a message as well.
#[cfg(unix)]
#[test]
fn little_memory_is_said_with_what_was_wanted_and_what_to_lower() {
    let sandbox = Sandbox::new();
    let large = "--dataset sample --offline --epochs 1 --precision f32 --set model.dropout=[0.0]";
    limited(
        &sandbox,
        1500,
        &format!("{large} --set model.widths=[64,64] --set model.input_px=[128,128] --batch-size 512"),
    )
    .fails(&[
        "recipe: batch_size: a training step on 512 images of 128 x 128 pixels takes at least ",
        " GB of memory, but ",
        "are free for this process (ulimit -v): choose a smaller batch_size or model.input_px",
    ]);
    limited(
        &sandbox,
        1500,
        &format!("{large} --set model.widths=[8,512] --set model.dense=8192 --batch-size 8"),
    )
    .fails(&[
        "recipe: [model]: 1073871626",
        " weights that learn, their optimiser and a checkpoint take at least ",
        "are free for this process (ulimit -v): choose a smaller network",
    ]);
    limited(&sandbox, 1500, "bench --model cnn --batch-size 4096 --precision f32")
        .fails(&["--batch-size 4096 of 32 x 32 pixels", "there is no memory for another "]);
    assert!(sandbox.everything().is_empty(), "{:?}", sandbox.everything());
    limited(&sandbox, 1500, &format!("{TINY} --run-dir run")).ok();

    // at least 690 MB are needed, so the run begins; but the backward pass needs more than there is
    let step = "--set model.widths=[16,16] --set model.dense=8 --set model.input_px=[96,96] --batch-size 340";
    limited(&sandbox, 800, &format!("{large} {step} --run-dir larger")).fails(&[
        "there is no memory for another ",
        " MB: choose a smaller batch_size, model.input_px or network",
    ]);
}
