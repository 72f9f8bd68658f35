//! Tests `trainer serve` end to end: its answers equal those of `predict`, bad requests get an error message, and a signal stops
//! it cleanly.

use std::net::{SocketAddr, TcpListener};
use std::thread;

use crate::drawn::{CLASSES, TINY_RUN, draw, photos, png};
use crate::http::{get, post, post_form, send};
use crate::support::{Running, Sandbox, wait_until};
use serde_json::Value;
use tallow_core::{Purpose, Stream};
use tallow_nn::encode;

/// A running server on a free port.
struct Server {
    address: SocketAddr,
    running: Running,
}

/// Starts `trainer serve` with the arguments `args`, and waits until it is ready.
fn serve(sandbox: &Sandbox, args: &str) -> Server {
    let mut running = sandbox.start(&format!("serve {args} --port 0"));
    wait_until("the address is printed", || {
        assert!(running.is_at_work(), "{}", running.stderr());
        running.stdout().ends_with('\n')
    });
    let url = running.stdout();
    let address = url.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
    let address = address.unwrap_or_else(|| panic!("no address: {url}")).parse().unwrap();
    Server { address, running }
}

impl Server {
    /// Sends a signal, and asserts that the server exits with success and frees its port.
    fn end(self, signal: &str) {
        self.running.signal(signal);
        let ran = self.running.wait().ok();
        assert!(TcpListener::bind(self.address).is_ok(), "{}: the port is still in use", ran.command);
    }
}

/// Creates a sandbox with pictures and the model of a short run on them.
fn with_run() -> Sandbox {
    let sandbox = photos();
    sandbox.trainer(&format!("--dataset photos --run-dir run --epochs 1 {TINY_RUN}")).ok();
    sandbox
}

/// Returns the answer about each picture without `file` and `nearest`.
fn said(pictures: &Value) -> Vec<Value> {
    let without_name = |picture: &Value| {
        let mut picture = picture.clone();
        let object = picture.as_object_mut().unwrap();
        object.remove("file");
        object.remove("nearest");
        picture
    };
    pictures.as_array().unwrap().iter().map(without_name).collect()
}

#[test]
fn answers_are_those_of_predict() {
    let sandbox = with_run();
    let names: Vec<String> =
        (0..4).flat_map(|i| CLASSES.map(|(class, _)| format!("photos/{class}/{i:02}.png"))).collect();
    let expected = sandbox.trainer(&format!("predict run {} --json", names.join(" "))).ok().json();
    let expected = said(&expected["pictures"]);
    let server = serve(&sandbox, "run");
    let bytes: Vec<Vec<u8>> = names.iter().map(|name| sandbox.read(name)).collect();
    let one = post(server.address, "/predict", &bytes[0]).with(200).json();
    assert_eq!((&one["model"], said(&one["pictures"])), (&"run".into(), expected[..1].to_vec()));
    let files = names.iter().map(String::as_str).zip(bytes.iter().map(Vec::as_slice));
    let all = post_form(server.address, "/predict", files).with(200).json();
    assert_eq!(said(&all["pictures"]), expected);
    let mut x = 1u32;
    let mut random = || {
        x ^= x << 13; // Marsaglia's xorshift
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    let noise: Vec<u8> = (0..3 * 1000 * 1000).map(|_| random()).collect();
    let large = png(1000, 1000, &noise);
    assert!(large.len() > 2 << 20, "more than axum takes in a form unless told otherwise");
    post_form(server.address, "/predict", [("large.png", large.as_slice())]).with(200);
    // all requests at once, in any batches
    let address = server.address;
    thread::scope(|scope| {
        let ask = |bytes| scope.spawn(move || post(address, "/predict", bytes).with(200).json());
        let asked: Vec<_> = bytes.iter().map(|bytes| ask(bytes)).collect();
        for (asked, expected) in asked.into_iter().zip(&expected) {
            assert_eq!(said(&asked.join().unwrap()["pictures"]), std::slice::from_ref(expected));
        }
    });
    server.end("TERM");
}

#[test]
fn whoever_asks_badly_is_told_so() {
    let sandbox = with_run();
    let server = serve(&sandbox, "run --max-body-mb 1 --max-megapixels 1 --queue 4");
    let address = server.address;
    post(address, "/predict", b"no picture").refuses(400, &["text, not a picture"]);
    post(address, "/predict", &vec![0; 2 << 20]).refuses(413, &["longer than 1 MB"]);
    let large = png(1100, 1000, &vec![99; 3 * 1100 * 1000]);
    post(address, "/predict", &large).refuses(413, &["1000 x 1100 pixels"]);
    post(address, "/predict?model=other", &large).refuses(404, &["run can be asked"]);
    let five = (0..5).map(|_| ("x.png", &b"x"[..]));
    post_form(address, "/predict", five).refuses(413, &["--queue"]);
    send(address, "POST", "/predict", &[("Host", "evil.example")], b"").refuses(403, &["evil.example"]);
    get(address, "/healthz").with(200);
    assert!(get(address, "/").text().contains("Ask a model about pictures"));
    server.end("INT");
}

#[test]
fn many_at_once_are_answered_or_told_when_to_come_again() {
    let sandbox = with_run();
    let server = serve(&sandbox, "run --queue 1 --threads 1");
    let picture = png(1500, 1500, &vec![77; 3 * 1500 * 1500]);
    let address = server.address;
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = || {
            let answer = post(address, "/predict", &picture);
            assert_eq!(answer.header("retry-after").is_some(), answer.status == 503);
            answer.status
        };
        let asked: Vec<_> = (0..24).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    server.end("TERM");
}

#[test]
fn several_models_are_served_under_names_of_their_own() {
    let sandbox = with_run();
    sandbox.write("other/run/model.safetensors", sandbox.read("run/model.safetensors"));
    sandbox.write("cats.safetensors", sandbox.read("run/model.safetensors"));
    let mut running = sandbox.start("serve run other/run cats.safetensors --port 0 --json");
    wait_until("it is ready", || running.stdout().trim_end().ends_with('}') || !running.is_at_work());
    let told: Value = serde_json::from_str(&running.stdout()).unwrap();
    assert_eq!(told["models"], serde_json::json!(["run", "run-2", "cats"]));
    let address = told["url"].as_str().unwrap()["http://".len()..].trim_end_matches('/').parse().unwrap();
    let models = get(address, "/models").json();
    assert_eq!(models["models"][2]["name"], "cats");
    assert_eq!(models["models"][0]["size_px"], serde_json::json!([24, 32]));
    let answer = post(address, "/predict?model=run-2&top_k=1", &sandbox.read("photos/cat/00.png")).json();
    assert_eq!(
        (&answer["model"], answer["pictures"][0]["predictions"].as_array().unwrap().len()),
        (&"run-2".into(), 1)
    );
    Server { address, running }.end("TERM");
}

#[test]
fn what_cannot_be_served_is_told_with_a_remedy() {
    let sandbox = with_run();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    sandbox.trainer(&format!("serve run --port {port}")).fails(&[&port.to_string(), "--port 0"]);
    sandbox.trainer("serve run --host 192.0.2.1 --port 0").fails(&["192.0.2.1", "--host"]);
    sandbox.trainer("serve nowhere --port 0").fails(&["nowhere"]);
    sandbox.trainer("serve run run/recipe.toml --port 0").fails(&["recipe.toml"]);
    assert_eq!(sandbox.trainer("serve run --queue 0").status, Some(2));
    assert_eq!(sandbox.trainer("serve").status, Some(2));
}

const HEAD: &str = "--recipe resnet18-head --offline --weights weights --set model.input_px=[32,32] --set batch_size=8 \
     --set epochs=1 --set augment.flip=none --dataset photos --run-dir head";

/// Creates a sandbox with a run on the features of an untrained backbone.
fn with_head() -> Sandbox {
    let sandbox = Sandbox::new();
    let table = tallow_models::architecture("resnet18").unwrap().reference_table();
    let model = tallow_models::build(&table, 1000, 0, &tallow_nn::Device::Cpu).unwrap();
    sandbox.write("weights/model.safetensors", encode(&model.params.to_tensors().unwrap(), "{}").unwrap());
    let config = r#"{"architecture": "resnet18", "num_classes": 1000,
        "pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}"#;
    sandbox.write("weights/config.json", config);
    draw(&sandbox, "photos", &CLASSES.map(|(name, _)| (name, 25)));
    sandbox.trainer(HEAD).ok();
    sandbox
}

#[test]
fn a_run_on_features_shows_the_nearest_training_pictures() {
    let sandbox = with_head();
    let mut noise = Stream::new(0, Purpose::Test, 9, 0);
    let pixels: Vec<u8> = (0..3 * 40 * 40).map(|_| noise.next_u32() as u8).collect();
    sandbox.write("noise.png", png(40, 40, &pixels));
    let asked = "photos/cat/03.png photos/owl/04.png photos/dog/05.png noise.png";
    let expected = said(&sandbox.trainer(&format!("predict head {asked} --json")).ok().json()["pictures"]);

    let server = serve(&sandbox, "head --nearest 2");
    let bytes: Vec<Vec<u8>> = asked.split(' ').map(|name| sandbox.read(name)).collect();
    let answer = post_form(server.address, "/predict", asked.split(' ').zip(bytes.iter().map(Vec::as_slice)));
    let answer = answer.with(200).json();
    assert_eq!(said(&answer["pictures"]), expected, "no bit depends on what is told besides");
    assert_eq!(answer["pictures"][3]["none_of_these"], true);
    let mut n_found = 0;
    for (i, class) in ["cat", "owl", "dog"].into_iter().enumerate() {
        let nearest = answer["pictures"][i]["nearest"].as_array().unwrap();
        assert_eq!(nearest.len(), 2);
        let similarity = |i: usize| nearest[i]["similarity"].as_f64().unwrap();
        assert!(similarity(0) >= similarity(1) && similarity(0) < 1.001, "{nearest:?}");
        let file = nearest[0]["file"].as_str().unwrap();
        assert!(file.starts_with(nearest[0]["class"].as_str().unwrap()), "{file}");
        // a training picture is nearest to itself; a picture that was not trained on is nearest to another
        if format!("photos/{file}") == asked.split(' ').nth(i).unwrap() {
            assert!(similarity(0) > 0.9999 && nearest[0]["class"] == class, "{nearest:?}");
            n_found += 1;
        }
        let shown = get(server.address, nearest[0]["picture"].as_str().unwrap()).with(200);
        assert_eq!(shown.header("content-type"), Some("image/png"));
        let reader = png::Decoder::new(std::io::Cursor::new(shown.body)).read_info().unwrap();
        let original = png::Decoder::new(std::io::Cursor::new(sandbox.read(&format!("photos/{file}"))));
        let original = original.read_info().unwrap();
        assert_eq!(reader.info().size(), original.info().size(), "{file}: it is small already");
    }
    assert!(n_found >= 1, "nearly all pictures are trained on");
    get(server.address, "/nearest/0/100000").refuses(404, &["training pictures"]);
    let models = get(server.address, "/models").json();
    assert_eq!(
        (&models["models"][0]["has_nearest"], &models["models"][0]["has_none_of_these"]),
        (&true.into(), &true.into())
    );
    server.end("TERM");

    // if the training pictures are gone, the server says so, and still answers
    std::fs::remove_dir_all(sandbox.path("photos")).unwrap();
    let server = serve(&sandbox, "head");
    let answer = post(server.address, "/predict", &bytes[3]).with(200).json();
    assert_eq!(said(&answer["pictures"]), expected[3..]);
    assert!(answer["pictures"][0].get("nearest").is_none());
    assert!(server.running.stderr().contains("no training pictures beside the answers of head"));
    server.end("TERM");
}

#[test]
fn other_machines_are_let_in_only_with_a_word_about_it() {
    let sandbox = with_run();
    let mut running = sandbox.start("serve run --host 0.0.0.0 --port 0");
    wait_until("it is ready", || running.stdout().ends_with('\n') || !running.is_at_work());
    let port: u16 =
        running.stdout().trim_end_matches(['/', '\n']).rsplit(':').next().unwrap().parse().unwrap();
    assert!(running.stderr().contains("there is no password"), "{}", running.stderr());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    send(address, "GET", "/models", &[("Host", "a-name-of-this-machine")], b"").with(200);
    Server { address, running }.end("INT");
}
