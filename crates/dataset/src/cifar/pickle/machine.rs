//! The stack machine that evaluates a pickle, one opcode after the other. `pickle` describes what the machine may do.

use std::borrow::Cow;
use std::collections::HashMap;

use super::reader::{Reader, number, unescape, unescape_unicode};
use super::{Node, Pickle, Ref};

/// Largest number of instructions of a pickle. CIFAR-100's training file has about 350,000.
const MAX_INSTRUCTIONS: usize = 1 << 22;
/// Largest total size of decoded texts and of byte strings that are written as texts, in bytes.
const MAX_DECODED_BYTES: usize = 512 << 20;

pub(super) fn run(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let mut machine = Machine { reader: Reader::new(bytes), ..Machine::default() };
    for _ in 0..MAX_INSTRUCTIONS {
        let at = machine.reader.at();
        let Some(root) = machine.step().map_err(|problem| format!("{problem} (at byte {at})"))? else {
            continue;
        };
        return Ok(Pickle { nodes: machine.nodes, root });
    }
    Err(format!("it has more than {MAX_INSTRUCTIONS} instructions"))
}

/// State of the machine that a pickle's instructions change.
#[derive(Default)]
pub(super) struct Machine<'a> {
    reader: Reader<'a>,
    /// Every value made so far.
    pub(super) nodes: Vec<Node<'a>>,
    stack: Vec<Ref>,
    marks: Vec<usize>,
    memo: HashMap<u64, Ref>,
    n_decoded: usize,
}

impl<'a> Machine<'a> {
    /// Evaluates one instruction. Returns the result if it was the last instruction.
    fn step(&mut self) -> Result<Option<Ref>, String> {
        match self.reader.byte()? {
            b'.' => return self.pop().map(Some),
            0x80 => self.protocol()?,
            0x95 => drop(self.reader.take(8)?), // FRAME: the number of bytes that could be read at once
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => self.stack.push(self.top()?),
            op @ (b'p' | b'q' | b'r') => {
                let key = self.key(op)?;
                self.put(key)?;
            }
            0x94 => self.put(self.memo.len() as u64)?,
            op @ (b'g' | b'h' | b'j') => {
                let key = self.key(op)?;
                self.get(key)?;
            }
            b'c' => {
                let (module, name) = (self.reader.line()?, self.reader.line()?);
                self.global(module, name)?;
            }
            0x93 => self.stack_global()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            op @ (b'}' | b']' | b')' | b'd' | b'l' | b't' | 0x85..=0x87) => self.collect(op)?,
            op @ (b'a' | b'e') => {
                let items = if op == b'a' { self.last(1)? } else { self.since_mark()? };
                self.append(items)?;
            }
            op @ (b's' | b'u') => {
                let items = if op == b's' { self.last(2)? } else { self.since_mark()? };
                self.set_items(&items)?;
            }
            op => self.literal(op)?,
        }
        Ok(None)
    }

    /// Evaluates an instruction that makes a number, a text or a byte string.
    fn literal(&mut self, op: u8) -> Result<(), String> {
        let node = match op {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'K' => Node::Int(self.reader.length(1)? as i64),
            b'M' => Node::Int(self.reader.length(2)? as i64),
            b'J' => Node::Int(i32::from_le_bytes(self.reader.array()?).into()),
            b'I' | b'L' => match self.reader.line()? {
                b"00" => Node::Bool(false),
                b"01" => Node::Bool(true),
                line => Node::Int(number(line)?),
            },
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            b'F' => {
                self.reader.line()?;
                Node::Float
            }
            b'G' => {
                self.reader.take(8)?;
                Node::Float
            }
            b'U' | b'C' => self.byte_string(1)?,
            b'T' | b'B' => self.byte_string(4)?,
            0x8e | 0x96 => self.byte_string(8)?,
            0x8c => self.text(1)?,
            b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            b'S' => self.quoted_line()?,
            b'V' => self.text_line()?,
            other => {
                return Err(format!("it has the instruction {other:#04x}, which plain data do not need"));
            }
        };
        self.push(node);
        Ok(())
    }

    /// Evaluates an instruction that makes a dictionary, list or tuple, empty or of values on the stack.
    fn collect(&mut self, op: u8) -> Result<(), String> {
        let node = match op {
            b'}' => Node::Dict(Vec::new()),
            b']' => Node::List(Vec::new()),
            b')' => Node::Tuple(Vec::new()),
            b'd' => Node::Dict(pairs(&self.since_mark()?)?),
            b'l' => Node::List(self.since_mark()?),
            b't' => Node::Tuple(self.since_mark()?),
            one_to_three => Node::Tuple(self.last(usize::from(one_to_three - 0x84))?),
        };
        self.push(node);
        Ok(())
    }

    fn protocol(&mut self) -> Result<(), String> {
        match self.reader.byte()? {
            0..=5 => Ok(()),
            other => Err(format!("it has the pickle protocol {other}, expected 0 to 5")),
        }
    }

    // Methods that make values.

    pub(super) fn push(&mut self, node: Node<'a>) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn long(&mut self, n_length_bytes: usize) -> Result<Node<'a>, String> {
        let n = self.reader.length(n_length_bytes)?;
        let digits = self.reader.take(n)?;
        if n > 8 {
            return Err(format!("it has a number of {n} bytes, expected at most 8"));
        }
        let sign = if digits.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
        let mut bytes = [sign; 8];
        bytes[..n].copy_from_slice(digits);
        Ok(Node::Int(i64::from_le_bytes(bytes)))
    }

    fn byte_string(&mut self, n_length_bytes: usize) -> Result<Node<'a>, String> {
        let n = self.reader.length(n_length_bytes)?;
        Ok(Node::Bytes(Cow::Borrowed(self.reader.take(n)?)))
    }

    fn text(&mut self, n_length_bytes: usize) -> Result<Node<'a>, String> {
        let n = self.reader.length(n_length_bytes)?;
        let text =
            std::str::from_utf8(self.reader.take(n)?).map_err(|_| "it has a text that is not UTF-8")?;
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    /// Reads a byte string of protocol 0: between quotes, with Python's escapes.
    fn quoted_line(&mut self) -> Result<Node<'a>, String> {
        let inner = match self.reader.line()?.trim_ascii() {
            [first @ (b'\'' | b'"'), inner @ .., last] if first == last => inner,
            _ => return Err("it has a byte string without quotes".into()),
        };
        self.count_decoded(inner.len())?;
        Ok(Node::Bytes(Cow::Owned(unescape(inner)?)))
    }

    /// Reads a text of protocol 0.
    fn text_line(&mut self) -> Result<Node<'a>, String> {
        let line = self.reader.line()?;
        self.count_decoded(line.len())?;
        Ok(Node::Text(Cow::Owned(unescape_unicode(line)?)))
    }

    pub(super) fn count_decoded(&mut self, n_bytes: usize) -> Result<(), String> {
        self.n_decoded += n_bytes;
        match self.n_decoded <= MAX_DECODED_BYTES {
            true => Ok(()),
            false => Err(format!("its texts have more than {MAX_DECODED_BYTES} bytes")),
        }
    }

    // Methods for the stack and the memo.

    /// Returns the lowest position of the stack that an instruction may use: the one after the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn top(&self) -> Result<Ref, String> {
        match self.stack.last() {
            Some(&top) if self.stack.len() > self.floor() => Ok(top),
            _ => Err("it takes more values than there are".into()),
        }
    }

    pub(super) fn pop(&mut self) -> Result<Ref, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn last(&mut self, n: usize) -> Result<Vec<Ref>, String> {
        let from = self.stack.len().checked_sub(n).filter(|&from| from >= self.floor());
        Ok(self.stack.split_off(from.ok_or("it takes more values than there are")?))
    }

    fn since_mark(&mut self) -> Result<Vec<Ref>, String> {
        let mark = self.marks.pop().ok_or("it ends a list that did not begin")?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, items: Vec<Ref>) -> Result<(), String> {
        let list = self.top()?;
        match &mut self.nodes[list] {
            Node::List(list) => list.extend(items),
            _ => return Err("it appends to something that is not a list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Ref]) -> Result<(), String> {
        let (dict, entries) = (self.top()?, pairs(items)?);
        match &mut self.nodes[dict] {
            Node::Dict(dict) => dict.extend(entries),
            _ => return Err("it sets a key of something that is not a dictionary".into()),
        }
        Ok(())
    }

    /// Reads the number of a value in the memo.
    fn key(&mut self, op: u8) -> Result<u64, String> {
        match op {
            b'p' | b'g' => number(self.reader.line()?),
            b'q' | b'h' => Ok(self.reader.length(1)? as u64),
            _ => Ok(self.reader.length(4)? as u64),
        }
    }

    fn put(&mut self, key: u64) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn get(&mut self, key: u64) -> Result<(), String> {
        let value =
            self.memo.get(&key).ok_or_else(|| format!("it uses value {key}, which it never stored"))?;
        self.stack.push(*value);
        Ok(())
    }
}

fn pairs(items: &[Ref]) -> Result<Vec<(Ref, Ref)>, String> {
    match items.as_chunks() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err("it has a key without a value".into()),
    }
}
