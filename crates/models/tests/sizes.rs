//! Compares the sizes that are computed from shapes with the networks themselves: their values, and the bytes of maps that a training
//! step holds. Only one test computes, as the process has one arena.

use tallow_core::memory::ARENA;
use tallow_nn::{Backend, Ctx, Device, Dims, Precision, TrainKey};

const N: usize = 2;

/// Side of the images of all networks but the small ones, which take 32.
const PX: usize = 64;

fn table(name: &str) -> toml::Table {
    let mut table = tallow_models::architecture(name).unwrap().reference_table();
    if !matches!(name, "cnn" | "speedrun") {
        table.insert("input_px".into(), vec![PX as i64; 2].into());
    }
    table
}

/// The least that a step needs is never more than it takes, as nothing may be refused that would fit; and it is no small part, as
/// otherwise little would be refused.
#[test]
fn sizes_from_shapes_are_those_of_the_networks() {
    let device = Device::Cpu;
    for name in [
        "cnn",
        "speedrun",
        "resnet18",
        "resnet50",
        "mobilenetv4_conv_small",
        "tf_efficientnet_lite0",
        "hgnetv2_b0",
        "convnext_atto",
    ] {
        let (architecture, table) = (tallow_models::architecture(name).unwrap(), table(name));
        let size = architecture.size(&table, 7).unwrap();
        let model = architecture.build(&table, 7, 0, &device).unwrap();
        let tensors = model.params.to_tensors().unwrap();
        let n_values: usize = tensors.values().map(|tensor| tensor.data.len()).sum();
        assert_eq!(size.n_values, n_values as u64, "{name}");
        let [h, w] = model.input_px.unwrap();
        assert_eq!(model.size([h, w]).unwrap(), size, "{name}");
        for (precision, bytes) in [(Precision::F32, 4), (Precision::Bf16, 2)] {
            let before = ARENA.used_bytes();
            let key = TrainKey { seed: 0, epoch: 0, first_position: 0 };
            let mut ctx = Ctx::train(Backend::Kernels, &device, key).with_precision(precision);
            let x = ctx.input(vec![0.5; N * h * w * 3], Dims { n: N, c: 3, h, w }).unwrap();
            let logits = model.forward(x, &mut ctx).unwrap();
            let held = (ARENA.used_bytes() - before) as f64;
            let least = (size.n_kept * N as u64 * bytes) as f64;
            drop((ctx, logits));
            assert!(least <= held, "{name} {precision:?}: at least {least} bytes, but it took {held}");
            assert!(least >= 0.85 * held, "{name} {precision:?}: only {least} of {held} bytes are known");
        }
    }
}

/// Frozen networks as well, without any values.
#[test]
fn every_architecture_has_a_size() {
    for architecture in tallow_models::architectures() {
        let table = architecture.reference_table();
        let size = architecture.size(&table, 10).unwrap();
        assert!(size.n_values > 100_000 && size.n_at_once > 1_000, "{}: {size:?}", architecture.name);
        assert!(size.n_learned <= size.n_values, "{}: {size:?}", architecture.name);
        // a linear head on features keeps nothing but its input, the features
        let is_head = size.n_input < 3 * 32 * 32;
        assert_eq!(size.n_kept == 0, is_head, "{}: {size:?}", architecture.name);
    }
}
