//! Writes the operations of a network as ONNX nodes.

use tallow_nn::{Constant, Graph, Node, Op, Value};

use crate::OnnxError;
use crate::builder::{Attribute, Builder};

/// Writes all operations of `graph`, applied to the tensor `images`. Returns the name of the result.
///
/// # Errors
/// If a weight is too large for f16.
pub(crate) fn write(builder: &mut Builder, graph: &Graph, images: String) -> Result<String, OnnxError> {
    let mut results: Vec<String> = Vec::with_capacity(graph.nodes.len());
    let name_of = |results: &[String], value: Value| match value {
        Value::Input => images.clone(),
        Value::Node(index) => results[index].clone(),
    };
    for node in &graph.nodes {
        let inputs: Vec<String> = node.inputs.iter().map(|&value| name_of(&results, value)).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        results.push(operation(builder, node, &inputs)?);
    }
    Ok(name_of(&results, graph.output))
}

/// Writes the node or nodes of one operation. Returns the name of the result.
fn operation(builder: &mut Builder, node: &Node, inputs: &[&str]) -> Result<String, OnnxError> {
    let name = match node.layer() {
        Some(layer) => format!("{layer}/{}", node.op.name()),
        None => node.op.name().to_owned(),
    };
    let x = inputs.first().copied().unwrap_or_default();
    let mut constants = Vec::new();
    if matches!(node.op, Op::Conv2d { .. } | Op::Linear { .. }) {
        for constant in node.op.constants() {
            constants.push(match constant.shape.len() {
                1 => builder.floats(&constant.name, &constant.shape, &constant.values),
                _ => builder.weight(constant)?,
            });
        }
    }
    let with_constants: Vec<&str> = std::iter::once(x).chain(constants.iter().map(String::as_str)).collect();
    let mut simple =
        |op_type: &str, attributes: &[Attribute<'_>]| builder.node(&name, op_type, inputs, attributes);
    Ok(match &node.op {
        Op::Conv2d { weight, stride, padding, groups, .. } => {
            let attributes = [
                Attribute::Ints("kernel_shape", ints(&weight.shape[2..])),
                Attribute::Ints("strides", ints(&[*stride; 2])),
                Attribute::Ints("pads", ints(padding)),
                Attribute::Int("group", *groups as i64),
            ];
            builder.node(&name, "Conv", &with_constants, &attributes)
        }
        Op::BatchNorm { gamma, beta, mean, var, eps } => {
            let ones;
            let gamma = match gamma {
                Some(gamma) => gamma,
                None => {
                    ones = Constant { values: vec![1.0; beta.values.len()], ..beta.clone() };
                    &ones
                }
            };
            batch_norm(builder, &name, x, [gamma, beta, mean, var], *eps)
        }
        Op::LayerNorm { gamma, beta, eps } => {
            let [gamma, beta] = [gamma, beta].map(|c| builder.floats(&c.name, &c.shape, &c.values));
            let attributes = [Attribute::Int("axis", -1), Attribute::Float("epsilon", *eps as f32)];
            builder.node(&name, "LayerNormalization", &[x, &gamma, &beta], &attributes)
        }
        Op::Linear { .. } => linear(builder, &name, &with_constants, node.shape.len() == 1),
        Op::Relu => simple("Relu", &[]),
        Op::Relu6 => {
            let [low, high] = [0.0, 6.0].map(|limit| builder.float(&format!("{name}/limit"), limit));
            builder.node(&name, "Clip", &[x, &low, &high], &[])
        }
        Op::Silu => {
            let gate = builder.node(&format!("{name}/gate"), "Sigmoid", &[x], &[]);
            builder.node(&name, "Mul", &[x, &gate], &[])
        }
        Op::HardSwish => {
            let slope = [Attribute::Float("alpha", 1.0 / 6.0), Attribute::Float("beta", 0.5)];
            let gate = builder.node(&format!("{name}/gate"), "HardSigmoid", &[x], &slope);
            builder.node(&name, "Mul", &[x, &gate], &[])
        }
        Op::Gelu => gelu(builder, &name, x),
        Op::MaxPool2d { k, stride, padding } => simple("MaxPool", &window(*k, *stride, *padding)),
        Op::AvgPool2d { k, stride } => simple("AveragePool", &window(*k, *stride, 0)),
        Op::GlobalAvgPool => simple("GlobalAveragePool", &[]),
        Op::Flatten => simple("Flatten", &[Attribute::Int("axis", 1)]),
        Op::Add => simple("Add", &[]),
        Op::Concat { axis } => simple("Concat", &[Attribute::Int("axis", *axis as i64)]),
        Op::AddConstant(c) => {
            let constant = builder.floats(&c.name, &c.shape, &c.values);
            builder.node(&name, "Add", &[x, &constant], &[])
        }
        Op::MulConstant(c) => {
            let constant = builder.floats(&c.name, &c.shape, &c.values);
            builder.node(&name, "Mul", &[x, &constant], &[])
        }
        Op::Scale(factor) => {
            let factor = builder.float(&format!("{name}/factor"), *factor);
            builder.node(&name, "Mul", &[x, &factor], &[])
        }
        Op::Pad { before, after } => {
            let of_batch = || std::iter::once(0);
            let widths: Vec<i64> =
                of_batch().chain(ints(before)).chain(of_batch()).chain(ints(after)).collect();
            let widths = builder.ints(&format!("{name}/widths"), &widths);
            builder.node(&name, "Pad", &[x, &widths], &[])
        }
        Op::Transpose(axes) => simple("Transpose", &[Attribute::Ints("perm", ints(axes))]),
        Op::Reshape(sizes) => {
            let sizes: Vec<i64> = std::iter::once(0).chain(ints(sizes)).collect(); // 0 keeps the batch
            let sizes = builder.ints(&format!("{name}/sizes"), &sizes);
            builder.node(&name, "Reshape", &[x, &sizes], &[])
        }
        Op::Slice { axis, start, end } => {
            let [start, end, axis] = [("start", start), ("end", end), ("axis", axis)]
                .map(|(what, &at)| builder.ints(&format!("{name}/{what}"), &[at as i64]));
            builder.node(&name, "Slice", &[x, &start, &end, &axis], &[])
        }
        Op::MatMul => simple("MatMul", &[]),
        Op::Softmax => simple("Softmax", &[Attribute::Int("axis", -1)]),
        Op::Mean { axis } => {
            let attributes = [Attribute::Ints("axes", vec![*axis as i64]), Attribute::Int("keepdims", 0)];
            simple("ReduceMean", &attributes)
        }
    })
}

fn batch_norm(builder: &mut Builder, name: &str, x: &str, constants: [&Constant; 4], eps: f64) -> String {
    let constants = constants.map(|c| builder.floats(&c.name, &c.shape, &c.values));
    let [gamma, beta, mean, var] = constants.each_ref().map(String::as_str);
    let attributes = [Attribute::Float("epsilon", eps as f32)];
    builder.node(name, "BatchNormalization", &[x, gamma, beta, mean, var], &attributes)
}

/// Writes a linear layer. For vectors it is one `Gemm`; for tokens it is a product with the transposed matrix, then the bias.
fn linear(builder: &mut Builder, name: &str, inputs: &[&str], is_of_vectors: bool) -> String {
    if is_of_vectors {
        return builder.node(name, "Gemm", inputs, &[Attribute::Int("transB", 1)]);
    }
    let perm = [Attribute::Ints("perm", vec![1, 0])];
    let transposed = builder.node(&format!("{name}/transposed"), "Transpose", &[inputs[1]], &perm);
    match inputs.get(2) {
        None => builder.node(name, "MatMul", &[inputs[0], &transposed], &[]),
        Some(bias) => {
            let product = builder.node(&format!("{name}/product"), "MatMul", &[inputs[0], &transposed], &[]);
            builder.node(name, "Add", &[&product, bias], &[])
        }
    }
}

/// Writes `x * (erf(x / sqrt(2)) + 1) * 0.5`, in the nodes that runtimes recognise and fuse into one GELU.
fn gelu(builder: &mut Builder, name: &str, x: &str) -> String {
    let root = builder.float(&format!("{name}/root"), std::f32::consts::SQRT_2);
    let one = builder.float(&format!("{name}/one"), 1.0);
    let half = builder.float(&format!("{name}/half"), 0.5);
    let scaled = builder.node(&format!("{name}/scaled"), "Div", &[x, &root], &[]);
    let erf = builder.node(&format!("{name}/erf"), "Erf", &[&scaled], &[]);
    let twice_phi = builder.node(&format!("{name}/twice_phi"), "Add", &[&erf, &one], &[]);
    let twice = builder.node(&format!("{name}/twice"), "Mul", &[x, &twice_phi], &[]);
    builder.node(name, "Mul", &[&twice, &half], &[])
}

fn window<'a>(k: usize, stride: usize, padding: usize) -> [Attribute<'a>; 3] {
    [
        Attribute::Ints("kernel_shape", ints(&[k; 2])),
        Attribute::Ints("strides", ints(&[stride; 2])),
        Attribute::Ints("pads", ints(&[padding; 4])),
    ]
}

fn ints(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&size| size as i64).collect()
}
