//! Collects the nodes and initializers of a graph, in the order in which they are added. Gives each a unique name.

use std::collections::HashSet;

use half::f16;
use tallow_nn::Constant;

use crate::proto::{self, AttributeProto, AttributeType, NodeProto, TensorProto};
use crate::{OnnxError, WeightType};

/// The nodes and initializers of a graph that is being built.
pub(crate) struct Builder {
    weights: WeightType,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    taken: HashSet<String>,
}

/// An attribute of a node.
pub(crate) enum Attribute<'a> {
    Float(&'a str, f32),
    Int(&'a str, i64),
    Ints(&'a str, Vec<i64>),
}

impl Builder {
    pub(crate) fn new(weights: WeightType) -> Self {
        let taken = [crate::INPUT, crate::LOGITS, crate::PROBABILITIES].map(str::to_owned).into();
        Self { weights, nodes: Vec::new(), initializers: Vec::new(), taken }
    }

    pub(crate) fn finish(self) -> (Vec<NodeProto>, Vec<TensorProto>) {
        (self.nodes, self.initializers)
    }

    /// Appends a node, and returns the name of its result, which begins with `name`.
    pub(crate) fn node(
        &mut self,
        name: &str,
        op_type: &str,
        inputs: &[&str],
        attributes: &[Attribute<'_>],
    ) -> String {
        let output = self.free_name(name);
        self.named_node(&output, op_type, inputs, attributes);
        output
    }

    /// Appends a node whose result is called `output`.
    pub(crate) fn named_node(
        &mut self,
        output: &str,
        op_type: &str,
        inputs: &[&str],
        attributes: &[Attribute<'_>],
    ) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: op_type.to_owned(),
            attribute: attributes.iter().map(Attribute::to_proto).collect(),
        });
    }

    /// Adds a constant of the network. Returns the name of its f32 value: constants that are stored in f16 get a cast to f32.
    ///
    /// # Errors
    /// If the constant is stored in f16, and one of its numbers is too large for f16.
    pub(crate) fn weight(&mut self, constant: &Constant) -> Result<String, OnnxError> {
        if self.weights == WeightType::F32 {
            return Ok(self.floats(&constant.name, &constant.shape, &constant.values));
        }
        let mut raw_data = Vec::with_capacity(2 * constant.values.len());
        for &value in &constant.values {
            let narrow = f16::from_f32(value);
            if !narrow.is_finite() {
                return Err(OnnxError::F16Range { name: constant.name.clone(), value });
            }
            raw_data.extend(narrow.to_le_bytes());
        }
        let stored = self.initializer(&constant.name, proto::FLOAT16, &constant.shape, raw_data);
        let to = Attribute::Int("to", i64::from(proto::FLOAT));
        Ok(self.node(&format!("{stored}/f32"), "Cast", &[&stored], &[to]))
    }

    /// Adds an initializer of f32 numbers, and returns its name.
    pub(crate) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, proto::FLOAT, shape, raw_data)
    }

    /// Adds an initializer of one f32 number (a scalar), and returns its name.
    pub(crate) fn float(&mut self, name: &str, value: f32) -> String {
        self.floats(name, &[], &[value])
    }

    /// Adds an initializer of a list of i64 numbers, and returns its name.
    pub(crate) fn ints(&mut self, name: &str, values: &[i64]) -> String {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, proto::INT64, &[values.len()], raw_data)
    }

    fn initializer(&mut self, name: &str, data_type: i32, shape: &[usize], raw_data: Vec<u8>) -> String {
        let name = self.free_name(name);
        let dims = shape.iter().map(|&size| size as i64).collect();
        self.initializers.push(TensorProto { dims, data_type, name: name.clone(), raw_data });
        name
    }

    /// Returns `name`; if it is taken, `name` with a number appended.
    fn free_name(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 1;
        while !self.taken.insert(free.clone()) {
            number += 1;
            free = format!("{name}_{number}");
        }
        free
    }
}

impl Attribute<'_> {
    fn to_proto(&self) -> AttributeProto {
        let (name, f, i, ints, kind) = match self {
            Self::Float(name, value) => (name, Some(*value), None, Vec::new(), AttributeType::Float),
            Self::Int(name, value) => (name, None, Some(*value), Vec::new(), AttributeType::Int),
            Self::Ints(name, values) => (name, None, None, values.clone(), AttributeType::Ints),
        };
        AttributeProto { name: (*name).to_owned(), f, i, ints, r#type: kind.into() }
    }
}
