//! The trait [`ImageSource`], which gives pictures by number, and sources in memory. Labels and names are left to the
//! set, input sizes to the loader.

use std::borrow::Cow;
use std::sync::Arc;

use tallow_core::digest::Hasher;

use crate::Error;

/// A source of pictures by number. Each picture may have any size and is upright, as a person sees it. Reading a
/// picture may fail; a failure never changes another picture.
pub trait ImageSource: Send + Sync {
    /// Returns the number of pictures.
    fn len(&self) -> usize;

    /// Returns whether there are no pictures.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads picture `i`.
    ///
    /// # Errors
    /// If the picture cannot be read; the error names the file.
    ///
    /// # Panics
    /// If there is no such picture, as for a slice.
    fn read(&self, i: usize) -> Result<Picture<'_>, Error>;

    /// Returns a value that distinguishes picture `i` from any other: a SHA-256 of its content as it is stored.
    ///
    /// # Panics
    /// If there is no such picture, as for a slice.
    fn identity(&self, i: usize) -> Identity;

    /// Returns the facts that a scan found about picture `i`; `None` if there was no scan.
    fn facts(&self, _i: usize) -> Option<&Facts> {
        None
    }

    /// Returns the pixels of all pictures, (n, h, w, c), and the shape (h, w, c) of each, if they lie in memory in one
    /// piece.
    fn block(&self) -> Option<(&[u8], [usize; 3])> {
        None
    }
}

/// Facts that a scan found about one picture's content.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// SHA-256 of the file.
    pub identity: Identity,
    /// Rows and columns of the upright picture.
    pub size_px: [u32; 2],
    /// Sums of the levels of red, green and blue.
    pub levels: Levels,
    /// Means over 8 x 8 fields, (8, 8, 3), for the search for near-duplicates.
    pub fields: Vec<u8>,
    /// Whether the file's EXIF orientation rotates or mirrors the picture.
    pub is_turned: bool,
    /// File format: "JPEG", "PNG", …
    pub format: &'static str,
}

/// Sums over the pixels of one picture, for mean and standard deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Number of pixels.
    pub n: u64,
    /// Sum of the levels of each channel.
    pub sums: [u64; 3],
    /// Sum of the squared levels of each channel.
    pub squares: [u64; 3],
}

impl Levels {
    /// Computes the sums of pixels with `channels` (1 to 3) values each.
    pub fn of(pixels: &[u8], channels: usize) -> Self {
        let mut levels = Self { n: (pixels.len() / channels) as u64, ..Self::default() };
        // 32-bit sums over 65,536 pixels cannot overflow, and the compiler can keep them in vectors.
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

/// A SHA-256 that identifies a picture.
pub type Identity = [u8; 32];

/// One picture: 8-bit sRGB or grey, (h, w, c).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture<'a> {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values per pixel.
    pub channels: usize,
    /// Pixels, (h, w, c).
    pub pixels: Cow<'a, [u8]>,
}

impl Picture<'_> {
    /// Returns rows, columns and channels.
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
    /// Indices of the chosen pictures in `source`.
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
