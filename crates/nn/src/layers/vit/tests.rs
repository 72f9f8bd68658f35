//! Compares both paths, in both precisions, and checks refused sizes. The tests of `tallow-models` compare with timm.

use candle_core::Device;

use super::*;
use crate::init::Init;
use crate::map::Precision;
use crate::params::ParamStore;

/// Two heads of width 5, and patches of 3 x 3 pixels. The grid of learnt positions is square, the grid of patches is not.
const CONFIG: VisionTransformerConfig = VisionTransformerConfig {
    input_px: [6, 12],
    patch_px: 3,
    n_side: 5,
    positions: PositionResize::Bicubic,
    width: 10,
    depth: 2,
    heads: 2,
    layer_scale: true,
    features: TokenFeatures::ClassAndMean,
};

fn network(config: VisionTransformerConfig) -> (ParamStore, VisionTransformer) {
    let mut store = ParamStore::new(0, &Device::Cpu);
    let network = VisionTransformer::new(&mut store.root(), config).unwrap();
    let mut tensors = store.to_tensors().unwrap();
    for (name, tensor) in &mut tensors {
        tensor.data = Init::Normal { std: 0.5 }.values(tensor.data.len(), 0, name);
    }
    store.load_tensors(&tensors).unwrap();
    (store, network)
}

fn features(network: &VisionTransformer, ctx: Ctx, n: usize) -> Vec<f32> {
    let mut ctx = ctx;
    let dims = Dims { n, c: 3, h: 6, w: 12 };
    let x = ctx.input(Init::Normal { std: 1.0 }.values(dims.len(), 0, "x"), dims).unwrap();
    let y = network.forward(x, &mut ctx).unwrap();
    assert_eq!(y.dims(), Dims { n, c: network.config.n_features(), h: 1, w: 1 });
    y.to_vec().unwrap()
}

fn eval(backend: Backend) -> Ctx {
    Ctx::eval(backend, &Device::Cpu)
}

fn relative_error(a: &[f32], b: &[f32]) -> f32 {
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

#[test]
fn paths_agree() {
    for positions in [PositionResize::Bicubic, PositionResize::AntialiasedBicubic] {
        for (layer_scale, features_of) in [(true, TokenFeatures::ClassAndMean), (false, TokenFeatures::Class)]
        {
            let config = VisionTransformerConfig { positions, layer_scale, features: features_of, ..CONFIG };
            let (_store, network) = network(config);
            let ours = features(&network, eval(Backend::Kernels), 3);
            let error = relative_error(&ours, &features(&network, eval(Backend::Candle), 3));
            assert!(error < 1e-5, "{config:?}: {error}");
            let narrow = features(&network, eval(Backend::Kernels).with_precision(Precision::Bf16), 3);
            let error = relative_error(&narrow, &ours);
            assert!(error < 4e-2 && error > 1e-4, "{config:?} in bf16: {error}");
        }
    }
}

#[test]
fn an_image_has_the_same_bits_alone_and_among_more_than_go_through_at_once() {
    let (_store, network) = network(CONFIG);
    let n = MAX_TOKENS / CONFIG.n_tokens() + 2;
    let together = features(&network, eval(Backend::Kernels), n);
    assert_eq!(features(&network, eval(Backend::Kernels), 1)[..], together[..2 * 10]);
}

#[test]
fn new_weights_are_seen() {
    let (store, network) = network(CONFIG);
    let before = features(&network, eval(Backend::Kernels), 1);
    for name in ["pos_embed", "blocks.1.ls2.gamma", "patch_embed.proj.bias"] {
        let mut tensors = store.to_tensors().unwrap();
        tensors.get_mut(name).unwrap().data.iter_mut().for_each(|x| *x *= 1.5);
        store.load_tensors(&tensors).unwrap();
        let after = features(&network, eval(Backend::Kernels), 1);
        assert!(relative_error(&after, &before) > 1e-4, "{name}");
        assert!(relative_error(&after, &features(&network, eval(Backend::Candle), 1)) < 1e-5, "{name}");
    }
}

#[test]
fn one_that_learns_and_images_of_another_size_are_refused() {
    let (store, network) = network(CONFIG);
    let key = crate::TrainKey { seed: 0, epoch: 0, first_position: 0 };
    let message = |ctx: &mut Ctx, dims: Dims| {
        let x = ctx.input(vec![0.0; dims.len()], dims).unwrap();
        network.forward(x, ctx).err().map(|e| e.to_string())
    };
    let fitting = Dims { n: 1, c: 3, h: 6, w: 12 };
    for backend in [Backend::Kernels, Backend::Candle] {
        let refused = message(&mut Ctx::train(backend, &Device::Cpu, key), fitting).unwrap();
        assert!(refused.contains("cannot be trained here: freeze it"), "{refused}");
        let refused = message(&mut eval(backend), Dims { n: 1, c: 3, h: 12, w: 6 }).unwrap();
        assert!(refused.contains("expected 3 channels of 6 x 12 pixels"), "{refused}");
    }
    store.freeze(|name| name != "blocks.1.norm2.bias");
    assert!(message(&mut Ctx::train(Backend::Kernels, &Device::Cpu, key), fitting).is_some());
    store.freeze(|_| true);
    assert_eq!(message(&mut Ctx::train(Backend::Kernels, &Device::Cpu, key), fitting), None);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    for config in [
        VisionTransformerConfig { input_px: [6, 13], ..CONFIG },
        VisionTransformerConfig { heads: 3, ..CONFIG },
        VisionTransformerConfig { patch_px: 0, ..CONFIG },
        VisionTransformerConfig { input_px: [0, 6], ..CONFIG },
    ] {
        let mut store = ParamStore::new(0, &Device::Cpu);
        assert!(VisionTransformer::new(&mut store.root(), config).is_err(), "{config:?}");
    }
}
