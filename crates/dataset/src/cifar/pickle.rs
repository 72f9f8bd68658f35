//! Reads a pickle, the output of Python's `pickle`, as data. Nothing in it is ever run.
//!
//! A pickle is a program for a small stack machine, and may name any function of Python to be called. The machine here
//! supports dictionaries, lists, tuples, numbers, texts and byte strings, of protocols 0 to 5. It knows only the few
//! functions that NumPy writes for an array (`globals`) and the function that stands for a byte string before protocol
//! 3, and replaces their calls by the values they mean. Any other function is refused by name. The meaning of the data
//! is left to `python`.
//!
//! ```text
//! nodes: every value made so far        stack: values under construction
//! marks: where on the stack a list, dictionary or tuple began        memo: values by number, to be used again
//! ```
//!
//! Values refer to each other by their index in `nodes`. So deep nesting needs no recursion here, and a value that
//! contains itself does no harm. Byte strings are borrowed from the file's bytes. The opcodes are those of CPython's
//! `pickletools`.

use std::borrow::Cow;

mod globals;
mod machine;
mod reader;

use globals::Global;

/// A pickle's values.
pub(super) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: Ref,
}

/// Index of a value in the nodes.
type Ref = usize;

#[derive(Debug)]
enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// A floating-point number. Its value is not kept, because nothing here needs it.
    Float,
    Bytes(Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    List(Vec<Ref>),
    Tuple(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    Global(Global),
    /// A number type, by its name such as "u1".
    Dtype(Ref),
    /// An array; `None` until BUILD has filled it.
    Array(Option<ArrayParts>),
}

/// The parts of an array.
#[derive(Clone, Copy, Debug)]
struct ArrayParts {
    shape: Ref,
    dtype: Ref,
    /// Whether the data are stored column by column, instead of row by row.
    by_columns: bool,
    data: Ref,
}

/// A value of a pickle.
#[derive(Clone, Copy)]
pub(super) struct Value<'p, 'a> {
    pickle: &'p Pickle<'a>,
    at: Ref,
}

/// A matrix of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Matrix<'p> {
    pub(super) n_rows: usize,
    pub(super) n_columns: usize,
    /// The bytes, row by row.
    pub(super) data: Cow<'p, [u8]>,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the beginning of `bytes`. Bytes after the pickle are ignored, as Python does.
    ///
    /// # Errors
    /// If the pickle is cut short, damaged, larger than a data set would be, or asks for a function to be run.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        machine::run(bytes)
    }

    /// Returns the value of the whole pickle.
    pub(super) fn root(&self) -> Value<'_, 'a> {
        Value { pickle: self, at: self.root }
    }
}

impl<'p, 'a> Value<'p, 'a> {
    fn node(self) -> &'p Node<'a> {
        &self.pickle.nodes[self.at]
    }

    /// Returns a dictionary's value for `key`, which may be stored as a text or a byte string.
    pub(super) fn get(self, key: &str) -> Option<Self> {
        let Node::Dict(entries) = self.node() else { return None };
        let with = |at| Self { at, ..self };
        let found = entries.iter().rev().find(|(k, _)| with(*k).bytes() == Some(key.as_bytes()));
        found.map(|&(_, value)| with(value))
    }

    /// Returns whether the value is a dictionary.
    pub(super) fn is_dict(self) -> bool {
        matches!(self.node(), Node::Dict(_))
    }

    /// Returns the values of a list or tuple.
    pub(super) fn items(self) -> Option<impl ExactSizeIterator<Item = Self>> {
        match self.node() {
            Node::List(items) | Node::Tuple(items) => Some(items.iter().map(move |&at| Self { at, ..self })),
            _ => None,
        }
    }

    /// Returns a whole number, or a truth value as 0 or 1.
    pub(super) fn int(self) -> Option<i64> {
        match self.node() {
            Node::Int(value) => Some(*value),
            Node::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// Returns a byte string, or the UTF-8 bytes of a text.
    fn bytes(self) -> Option<&'p [u8]> {
        match self.node() {
            Node::Bytes(bytes) => Some(bytes),
            Node::Text(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// Returns a text, or a byte string that is valid UTF-8.
    pub(super) fn text(self) -> Option<&'p str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Returns a matrix of unsigned bytes.
    ///
    /// # Errors
    /// If the value is something else, or its number of bytes does not match its sizes.
    pub(super) fn matrix(self) -> Result<Matrix<'p>, String> {
        let Node::Array(Some(parts)) = self.node() else { return Err("is not an array".into()) };
        let part = |at| Self { at, ..self };
        let dtype = match part(parts.dtype).node() {
            Node::Dtype(name) => part(*name).text().unwrap_or_default(),
            _ => "",
        };
        if !matches!(dtype, "u1" | "|u1" | "uint8" | "B") {
            return Err(format!("has the type {dtype:?}, expected unsigned bytes (\"u1\")"));
        }
        let shape: Option<Vec<usize>> =
            part(parts.shape).items().map(|sizes| sizes.filter_map(|v| v.int()?.try_into().ok()).collect());
        let &[n_rows, n_columns] = shape.as_deref().unwrap_or_default() else {
            return Err(format!("has the sizes {:?}, expected rows and columns", shape.unwrap_or_default()));
        };
        let Node::Bytes(data) = part(parts.data).node() else {
            return Err("does not hold plain bytes".into());
        };
        if n_rows.checked_mul(n_columns) != Some(data.len()) {
            return Err(format!("has {} bytes for {n_rows} rows of {n_columns}", data.len()));
        }
        let data = match parts.by_columns {
            false => Cow::Borrowed(&**data),
            true => (0..data.len()).map(|i| data[i / n_columns + i % n_columns * n_rows]).collect(),
        };
        Ok(Matrix { n_rows, n_columns, data })
    }
}
