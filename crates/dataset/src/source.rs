//! Where pictures come from: one trait, by number. Labels and names are the set's business, sizes the loader's.

use std::borrow::Cow;
use std::sync::Arc;

use tallow_core::digest::Hasher;

use crate::Error;

/// Pictures by number, of any size each, as a person sees them. Reading one may fail, and never changes a bit of another.
pub trait ImageSource: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Picture `i`.
    ///
    /// # Errors
    /// If it cannot be had, with its name.
    ///
    /// # Panics
    /// If there is no such picture, as for a slice.
    fn read(&self, i: usize) -> Result<Picture<'_>, Error>;

    /// What tells picture `i` from any other: a SHA-256 of its content, as it is stored.
    ///
    /// # Panics
    /// If there is no such picture, as for a slice.
    fn identity(&self, i: usize) -> Identity;

    /// What was found out about picture `i` when all were looked at, where they were.
    fn facts(&self, _i: usize) -> Option<&Facts> {
        None
    }

    /// The pixels of all pictures, (n, h, w, c), and the shape (h, w, c) of each, where they lie in memory in one piece.
    fn block(&self) -> Option<(&[u8], [usize; 3])> {
        None
    }
}

/// What a scan found out about one picture's content.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// A SHA-256 of the file.
    pub identity: Identity,
    /// Rows and columns, as a person sees it.
    pub size_px: [u32; 2],
    /// The levels of red, green and blue.
    pub levels: Levels,
    /// Means over 8 x 8 fields, (8, 8, 3): what near-duplicates are searched by.
    pub fields: Vec<u8>,
    /// Whether its file says that it is to be turned, or mirrored.
    pub is_turned: bool,
    /// "JPEG", "PNG", …
    pub format: &'static str,
}

/// Sums over the pixels of one picture, for mean and deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// How many pixels.
    pub n: u64,
    /// Of the levels of each channel.
    pub sums: [u64; 3],
    /// Of their squares.
    pub squares: [u64; 3],
}

impl Levels {
    /// Of pixels with `channels` (1 to 3) numbers each.
    pub fn of(pixels: &[u8], channels: usize) -> Self {
        let mut levels = Self { n: (pixels.len() / channels) as u64, ..Self::default() };
        // 32-bit sums of so many pixels cannot overflow: they stay in vectors
        for piece in pixels.chunks(channels << 16) {
            let (mut sums, mut squares) = ([0u32; 3], [0u32; 3]);
            for pixel in piece.chunks_exact(channels) {
                for (channel, &value) in pixel.iter().enumerate() {
                    sums[channel] += u32::from(value);
                    squares[channel] += u32::from(value) * u32::from(value);
                }
            }
            for channel in 0..3 {
                levels.sums[channel] += u64::from(sums[channel]);
                levels.squares[channel] += u64::from(squares[channel]);
            }
        }
        levels
    }
}

/// A SHA-256.
pub type Identity = [u8; 32];

/// One picture: 8-bit sRGB or grey, (h, w, c).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture<'a> {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Numbers per pixel.
    pub channels: usize,
    /// (h, w, c).
    pub pixels: Cow<'a, [u8]>,
}

impl Picture<'_> {
    /// Rows, columns, channels.
    pub fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }
}

/// Pictures of one size in one piece of memory, (n, h, w, c).
pub(crate) struct Block {
    pub(crate) shape: [usize; 3],
    pub(crate) pixels: Vec<u8>,
}

impl Block {
    fn image(&self, i: usize) -> &[u8] {
        let len = self.shape.iter().product::<usize>();
        &self.pixels[i * len..][..len]
    }
}

impl ImageSource for Block {
    fn len(&self) -> usize {
        self.pixels.len() / self.shape.iter().product::<usize>()
    }

    fn read(&self, i: usize) -> Result<Picture<'_>, Error> {
        let [height, width, channels] = self.shape;
        Ok(Picture { height, width, channels, pixels: Cow::Borrowed(self.image(i)) })
    }

    fn identity(&self, i: usize) -> Identity {
        let mut hasher = Hasher::new();
        self.shape.iter().for_each(|size| hasher.update(&(*size as u64).to_le_bytes()));
        hasher.update(self.image(i));
        hasher.finish_bytes()
    }

    fn block(&self) -> Option<(&[u8], [usize; 3])> {
        Some((&self.pixels, self.shape))
    }
}

/// Some of the pictures of another source.
pub(crate) struct Chosen {
    pub(crate) source: Arc<dyn ImageSource>,
    /// Which of its pictures.
    pub(crate) indices: Vec<u32>,
}

impl ImageSource for Chosen {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn read(&self, i: usize) -> Result<Picture<'_>, Error> {
        self.source.read(self.indices[i] as usize)
    }

    fn identity(&self, i: usize) -> Identity {
        self.source.identity(self.indices[i] as usize)
    }

    fn facts(&self, i: usize) -> Option<&Facts> {
        self.source.facts(self.indices[i] as usize)
    }
}
