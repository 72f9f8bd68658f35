//! The functions and types that a pickle of arrays names, and their meaning here. Nothing is called.

use std::borrow::Cow;

use super::machine::Machine;
use super::{ArrayParts, Node, Ref};

/// Known functions and types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// NumPy's `_reconstruct(ndarray, (0,), b'b')`: an array that BUILD fills.
    Reconstruct,
    /// NumPy's `_frombuffer(data, dtype, shape, order)`: an array, in protocol 5.
    FromBuffer,
    /// NumPy's `ndarray`.
    Ndarray,
    /// NumPy's `dtype(name, align, copy)`: a type of numbers.
    Dtype,
    /// `_codecs.encode(text, 'latin1')`: a byte string, as Python 3 writes it in protocols 0 to 2.
    Encode,
}

impl Global {
    fn of(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            // `numpy._core` since NumPy 2
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Self::Reconstruct,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Self::FromBuffer,
            ("numpy", "ndarray") => Self::Ndarray,
            ("numpy", "dtype") => Self::Dtype,
            ("_codecs", "encode") => Self::Encode,
            _ => return None,
        })
    }
}

impl Machine<'_> {
    pub(super) fn global(&mut self, module: &[u8], name: &[u8]) -> Result<(), String> {
        let (module, name) = (String::from_utf8_lossy(module), String::from_utf8_lossy(name));
        let Some(global) = Global::of(&module, &name) else {
            let name = format!("{module}.{name}");
            return Err(format!("it asks for {:?}, which image data do not need; nothing was run", name));
        };
        self.push(Node::Global(global));
        Ok(())
    }

    /// Like [`global`](Self::global), with both names from the stack.
    pub(super) fn stack_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        let bytes = |at: Ref| match &self.nodes[at] {
            Node::Bytes(bytes) => bytes.to_vec(),
            Node::Text(text) => text.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let (module, name) = (bytes(module), bytes(name));
        self.global(&module, &name)
    }

    /// Evaluates a REDUCE instruction, for which Python would call a function.
    pub(super) fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Node::Global(function), Node::Tuple(arguments)) =
            (&self.nodes[function], &self.nodes[arguments])
        else {
            return Err("it calls something that is not a function".into());
        };
        let first = arguments.first().map(|&at| &self.nodes[at]);
        let node = match (function, &arguments[..], first) {
            (Global::Reconstruct, _, Some(Node::Global(Global::Ndarray))) => Node::Array(None),
            (Global::Dtype, &[name, ..], _) => Node::Dtype(name),
            (Global::FromBuffer, &[data, dtype, shape, order], _) => {
                let by_columns = self.is(order, "F");
                Node::Array(Some(ArrayParts { shape, dtype, by_columns, data }))
            }
            (Global::Encode, &[_, encoding], Some(Node::Text(text)))
                if self.is(encoding, "latin1") || self.is(encoding, "latin-1") =>
            {
                let bytes: Result<Vec<u8>, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
                Node::Bytes(Cow::Owned(bytes.map_err(|_| "it has a byte string with characters above 255")?))
            }
            (other, ..) => return Err(format!("it calls {other:?} with arguments that are not NumPy's")),
        };
        if let Node::Bytes(bytes) = &node {
            self.count_decoded(bytes.len())?;
        }
        self.push(node);
        Ok(())
    }

    /// Fills an array with its state (version, shape, dtype, whether by columns, data). The state of a type is ignored:
    /// bytes need nothing from it.
    pub(super) fn build(&mut self) -> Result<(), String> {
        let (state, target) = (self.pop()?, self.top()?);
        let filled = match (&self.nodes[target], &self.nodes[state]) {
            (Node::Dtype(_), Node::Tuple(_)) => return Ok(()),
            (Node::Array(None), Node::Tuple(state)) => match state[..] {
                [_, shape, dtype, by_columns, data] => {
                    let by_columns = matches!(self.nodes[by_columns], Node::Bool(true) | Node::Int(1));
                    ArrayParts { shape, dtype, by_columns, data }
                }
                _ => return Err(format!("it has an array of {} parts, expected 5", state.len())),
            },
            _ => return Err("it sets the state of something that is not an array".into()),
        };
        self.nodes[target] = Node::Array(Some(filled));
        Ok(())
    }

    fn is(&self, at: Ref, text: &str) -> bool {
        match &self.nodes[at] {
            Node::Bytes(bytes) => **bytes == *text.as_bytes(),
            Node::Text(found) => found == text,
            _ => false,
        }
    }
}
