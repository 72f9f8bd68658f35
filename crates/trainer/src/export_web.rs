//! Writes the folder of `trainer export --format web`: a static page that runs an ONNX file in a browser. The page and its
//! scripts are in `assets/web`. Its style sheet is that of the page of `trainer serve`.

use std::path::Path;

use tallow_core::{FileError, files};
use tallow_run_files::ONNX;

const FILES: [(&str, &str); 5] = [
    ("index.html", include_str!("../../../assets/web/index.html")),
    ("page.js", include_str!("../../../assets/web/page.js")),
    ("fit.js", include_str!("../../../assets/web/fit.js")),
    ("style.css", include_str!("../../../assets/serve/serve.css")),
    ("README.txt", include_str!("../../../assets/web/README.txt")),
];

/// Writes the page, the ONNX file and the model's description `about` (JSON) into `folder`.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write(folder: &Path, onnx: &[u8], about: &str) -> Result<(), FileError> {
    files::create_folder(folder)?;
    for (name, text) in FILES {
        files::write(&folder.join(name), text.as_bytes())?;
    }
    files::write(&folder.join(ONNX), onnx)?;
    files::write(&folder.join("model.json"), about.as_bytes())
}
