//! Every layer of the crate, with sizes to test it on.

use tallow_nn::{
    Act, After, AvgPool2d, BatchNorm2d, BatchNormConfig, Concat, Conv2d, Conv2dConfig, ConvNormAct, Ctx,
    DepthwiseConfig, DepthwiseConv2d, DepthwiseNormAct, Dims, Dropout, Flatten, Gelu, GlobalAvgPool, Init,
    Layer, LayerNorm, Linear, MaxPool2d, Padding, PooledStages, Relu, Residual, ResidualBlock, Result, Scale,
    Scope, Sequential, Takes, ZeroPad2d,
};

/// A layer and the size of its test input. In most cases rows, columns, channels and images are four different numbers.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) dims: Dims,
    pub(crate) build: Build,
}

type Build = fn(&mut Scope<'_>) -> Result<Box<dyn Layer>>;

/// Returns a [`Case`].
pub(crate) const fn case(name: &'static str, dims: Dims, build: Build) -> Case {
    Case { name, dims, build }
}

/// Returns [`Dims`].
pub(crate) const fn dims(n: usize, c: usize, h: usize, w: usize) -> Dims {
    Dims { n, c, h, w }
}

/// Returns a convolution's settings.
pub(crate) const fn conv(k_h: usize, k_w: usize, stride: usize, padding: usize, bias: bool) -> Conv2dConfig {
    Conv2dConfig { k_h, k_w, stride, padding: Padding::Symmetric(padding), bias }
}

fn boxed(layer: impl Layer + 'static) -> Result<Box<dyn Layer>> {
    Ok(Box::new(layer))
}

/// Returns every layer of the crate. Only ReLU and max pooling have kinks; the test's inputs keep a distance from them.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = convolutions();
    cases.extend(others());
    cases
}

fn convolutions() -> Vec<Case> {
    let small = dims(2, 3, 5, 4);
    vec![
        case("conv 3x3", small, |s| conv_3_to_4(s, conv(3, 3, 1, 1, true))),
        case("conv 2x3, no padding", small, |s| conv_3_to_4(s, conv(2, 3, 1, 0, true))),
        case("conv 1x1, no bias", small, |s| conv_3_to_4(s, conv(1, 1, 1, 0, false))),
        case("conv 1x1, padding 1", small, |s| conv_3_to_4(s, conv(1, 1, 1, 1, true))),
        case("conv 1x1, stride 2", dims(2, 3, 7, 10), |s| conv_3_to_4(s, conv(1, 1, 2, 0, false))),
        case("conv 3x2, stride 2, no padding", dims(2, 3, 6, 5), |s| conv_3_to_4(s, conv(3, 2, 2, 0, true))),
        // the four combinations of remainders: a window reads the last row or not, and the last column or not
        case("conv 3x3, stride 2, 7x10", dims(2, 3, 7, 10), |s| conv_3_to_4(s, conv(3, 3, 2, 1, false))),
        case("conv 3x3, stride 2, 10x7", dims(2, 3, 10, 7), |s| conv_3_to_4(s, conv(3, 3, 2, 1, false))),
        case("conv 3x3, stride 2, 6x8", dims(2, 3, 6, 8), |s| conv_3_to_4(s, conv(3, 3, 2, 1, true))),
        case("conv 3x3, stride 2, 7x9", dims(2, 3, 7, 9), |s| conv_3_to_4(s, conv(3, 3, 2, 1, true))),
        case("conv 3x5, stride 3, padding 2", dims(2, 3, 7, 9), |s| conv_3_to_4(s, conv(3, 5, 3, 2, true))),
        case("conv 3x3, stride 2, TensorFlow's SAME, 7x10", dims(2, 3, 7, 10), |s| {
            conv_3_to_4(s, Conv2dConfig { padding: Padding::Same, ..conv(3, 3, 2, 0, true) })
        }),
        case("depthwise 3x3, norm, SiLU", small, |s| depthwise(s, 3, 1, Padding::Symmetric(1), After::Silu)),
        case("depthwise 5x5, stride 2, SAME, norm", dims(3, 3, 7, 10), |s| {
            depthwise(s, 5, 2, Padding::Same, After::Nothing)
        }),
        case("depthwise 3x3, stride 2, no padding, norm, GELU", dims(2, 3, 6, 9), |s| {
            depthwise(s, 3, 2, Padding::Symmetric(0), After::Gelu)
        }),
        case("conv as a dense layer", small, |s| boxed(Conv2d::dense(s, 3, 4, Init::torch_default(3))?)),
        case("depthwise 7x7, bias", dims(2, 3, 9, 4), |s| {
            depthwise_with_bias(s, 7, 1, Padding::Symmetric(3))
        }),
        case("depthwise 3x3, stride 2, SAME, bias", dims(2, 3, 7, 10), |s| {
            depthwise_with_bias(s, 3, 2, Padding::Same)
        }),
        case("conv 3x3, scaled", small, |s| boxed(scaled(s, conv(3, 3, 1, 1, true))?)),
        case("conv 1x1, no bias, scaled", small, |s| boxed(scaled(s, conv(1, 1, 1, 0, false))?)),
        case("conv 3x3 and GELU, in one", small, |s| {
            boxed(ConvNormAct::without_norm(Conv2d::new(s, 3, 4, conv(3, 3, 1, 1, true))?, After::Gelu))
        }),
        case("conv on 1x1 maps", dims(2, 3, 1, 1), |s| conv_3_to_4(s, conv(3, 3, 1, 1, true))),
    ]
}

fn conv_3_to_4(s: &mut Scope<'_>, config: Conv2dConfig) -> Result<Box<dyn Layer>> {
    boxed(Conv2d::new(s, 3, 4, config)?)
}

fn depthwise_with_bias(
    s: &mut Scope<'_>,
    k: usize,
    stride: usize,
    padding: Padding,
) -> Result<Box<dyn Layer>> {
    boxed(DepthwiseConv2d::new(s, 3, DepthwiseConfig { k, stride, padding }, Init::Normal { std: 0.3 })?)
}

/// Builds a convolution that keeps the number of channels and multiplies each by a learned number.
fn scaled(s: &mut Scope<'_>, config: Conv2dConfig) -> Result<ConvNormAct> {
    let scaled = Conv2d::new(&mut s.sub("conv"), 3, 3, config)?;
    ConvNormAct::with_scale(scaled, s.param("gamma", &[3], Init::Constant(1.0))?, After::Nothing)
}

fn depthwise(
    s: &mut Scope<'_>,
    k: usize,
    stride: usize,
    padding: Padding,
    after: After,
) -> Result<Box<dyn Layer>> {
    let norm = BatchNorm2d::new(&mut s.sub("bn"), 3, BatchNormConfig::default())?;
    boxed(DepthwiseNormAct::new(&mut s.sub("conv"), 3, DepthwiseConfig { k, stride, padding }, norm, after)?)
}

fn others() -> Vec<Case> {
    let (map, vector) = (dims(2, 3, 5, 4), dims(3, 5, 1, 1));
    vec![
        case("batch norm", map, |s| boxed(BatchNorm2d::new(s, 3, BatchNormConfig::default())?)),
        case("batch norm on vectors", dims(6, 5, 1, 1), |s| {
            boxed(BatchNorm2d::new(s, 5, BatchNormConfig::new(1e-3, 0.3))?)
        }),
        case("batch norm without scale", map, |s| {
            boxed(BatchNorm2d::new(s, 3, BatchNormConfig { scale: false, ..BatchNormConfig::default() })?)
        }),
        case("layer norm", map, |s| boxed(LayerNorm::new(s, 3, 1e-2)?)),
        case("layer norm on vectors", dims(3, 19, 1, 1), |s| boxed(LayerNorm::new(s, 19, 1e-6)?)),
        case("relu", map, |_| boxed(Relu)),
        case("gelu", map, |_| boxed(Gelu)),
        case("max pool 2/2", map, |_| boxed(MaxPool2d { k: 2, stride: 2, padding: 0 })),
        case("max pool 3/2, padding 1", dims(2, 3, 7, 10), |_| {
            boxed(MaxPool2d { k: 3, stride: 2, padding: 1 })
        }),
        case("avg pool 2/2", map, |_| boxed(AvgPool2d { k: 2, stride: 2 })),
        case("avg pool 3/2", dims(2, 3, 7, 10), |_| boxed(AvgPool2d { k: 3, stride: 2 })),
        case("global avg pool", map, |_| boxed(GlobalAvgPool)),
        case("flatten", map, |_| boxed(Flatten)),
        case("linear", vector, |s| boxed(Linear::new(s, 5, 4, true)?)),
        case("linear, no bias", vector, |s| boxed(Linear::new(s, 5, 4, false)?)),
        case("scale", vector, |_| boxed(Scale { factor: 0.25 })),
        case("dropout", map, |_| boxed(Dropout::new("drop", 0.4)?)),
        case("dropout on vectors", dims(3, 50, 1, 1), |_| boxed(Dropout::new("drop", 0.4)?)),
        case("residual, identity", map, |s| boxed(Residual::new(branch(s, 3, 1)?, None))),
        case("residual, shortcut", dims(2, 3, 5, 8), residual_with_shortcut),
        case("residual, scaled", map, |s| {
            boxed(ResidualBlock::new(branch(s, 3, 1)?, scaled(s, conv(1, 1, 1, 0, true))?, None))
        }),
        case("pooled stages", dims(2, 3, 5, 8), pooled_stages),
        case("zero pad", map, |_| boxed(ZeroPad2d { bottom: 2, right: 1 })),
        case("concat of branches", map, |s| concat(s, [Takes::Input; 3])),
        case("concat of a chain", map, |s| concat(s, [Takes::Last; 3])),
        case("concat, mixed by a 1x1 conv", map, |s| concat_then(s, 1)),
        case("concat, mixed by a 3x3 conv", map, |s| concat_then(s, 3)),
        case("concat of both", map, |s| concat(s, [Takes::Last, Takes::Input, Takes::Last])),
        case("a layer used twice", map, |s| boxed(Twice(Conv2d::new(s, 3, 3, conv(3, 3, 1, 1, true))?))),
        case("sequential, empty", map, |_| boxed(Sequential::new())),
        case("sequential", dims(3, 2, 7, 5), sequential),
        case("sequential down to 1x1 maps", dims(12, 2, 2, 2), down_to_one_pixel),
    ]
}

fn branch(s: &mut Scope<'_>, c_out: usize, stride: usize) -> Result<Sequential> {
    let mut branch = Sequential::new();
    branch.push(Conv2d::new(&mut s.sub("conv1"), 3, c_out, conv(3, 3, stride, 1, false))?);
    branch.push(BatchNorm2d::new(&mut s.sub("bn1"), c_out, BatchNormConfig::default())?);
    branch.push(Gelu);
    branch.push(Conv2d::new(&mut s.sub("conv2"), c_out, c_out, conv(3, 3, 1, 1, false))?);
    Ok(branch)
}

fn residual_with_shortcut(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let branch = branch(s, 4, 2)?;
    let mut shortcut = Sequential::new();
    shortcut.push(Conv2d::new(&mut s.sub("downsample.0"), 3, 4, conv(1, 1, 2, 0, false))?);
    shortcut.push(BatchNorm2d::new(&mut s.sub("downsample.1"), 4, BatchNormConfig::default())?);
    boxed(Residual::new(branch, Some(Box::new(shortcut))))
}

/// Builds a concatenation of the input and two convolutions. Each convolution reads the input or the output of the part before
/// it.
fn concat(s: &mut Scope<'_>, takes: [Takes; 3]) -> Result<Box<dyn Layer>> {
    boxed(parts(s, takes)?)
}

fn concat_then(s: &mut Scope<'_>, k: usize) -> Result<Box<dyn Layer>> {
    let parts = parts(s, [Takes::Last; 3])?;
    let mix = Conv2d::new(&mut s.sub("mix"), 3 + 4 + 2, 4, conv(k, k, 1, k / 2, true))?;
    boxed(parts.then(ConvNormAct::without_norm(mix, After::Nothing)))
}

fn parts(s: &mut Scope<'_>, takes: [Takes; 3]) -> Result<Concat> {
    let mut parts = Concat::new();
    parts.push(Sequential::new(), takes[0]);
    let mut c_in = 3;
    for (i, c_out) in [(1, 4), (2, 2)] {
        c_in = if takes[i] == Takes::Last { c_in } else { 3 };
        let mut part = Sequential::new();
        part.push(Conv2d::new(&mut s.sub(i), c_in, c_out, conv(3, 3, 1, 1, true))?);
        parts.push(part, takes[i]);
        c_in = c_out;
    }
    Ok(parts)
}

/// Builds three stages. The first and the last give features; the second only connects them.
fn pooled_stages(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let mut first = Sequential::new();
    first.push(Conv2d::new(&mut s.sub("0"), 3, 4, conv(3, 3, 1, 1, false))?);
    let mut middle = Sequential::new();
    middle.push(Conv2d::new(&mut s.sub("1"), 4, 2, conv(3, 3, 2, 1, true))?);
    let mut last = Sequential::new();
    last.push(Conv2d::new(&mut s.sub("2"), 2, 5, conv(1, 1, 1, 0, true))?);
    let mut stages = PooledStages::new();
    stages.push(first, true);
    stages.push(middle, false);
    stages.push(last, true);
    boxed(stages)
}

/// A user's own layer made of one of ours: one set of parameters, with two gradients for each.
struct Twice(Conv2d);

impl Layer for Twice {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x = self.0.forward(x, ctx)?;
        self.0.forward(x, ctx)
    }
}

fn sequential(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let mut net = Sequential::new();
    net.push(Conv2d::new(&mut s.sub("0"), 2, 4, conv(3, 3, 1, 1, false))?);
    net.push(BatchNorm2d::new(&mut s.sub("1"), 4, BatchNormConfig::default())?);
    net.push(Gelu);
    net.push(AvgPool2d { k: 2, stride: 2 });
    net.push(Dropout::new("4", 0.2)?);
    net.push(Flatten);
    net.push(Linear::new(&mut s.sub("6"), 4 * 3 * 2, 5, true)?);
    boxed(net)
}

/// Maps of one pixel are still maps: layers for maps and layers for vectors both accept them. The input has twelve images, and
/// there is no dropout before the norm, because batch norm of few values with some of them dropped is unstable.
fn down_to_one_pixel(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let mut net = Sequential::new();
    net.push(Conv2d::new(&mut s.sub("0"), 2, 4, conv(2, 2, 1, 0, false))?);
    net.push(BatchNorm2d::new(&mut s.sub("1"), 4, BatchNormConfig::default())?);
    net.push(Dropout::new("2", 0.2)?);
    net.push(Conv2d::new(&mut s.sub("3"), 4, 6, conv(1, 1, 1, 0, true))?);
    net.push(Linear::new(&mut s.sub("4"), 6, 5, true)?);
    boxed(net)
}
