//! What the path of a model says: the run folder that it lies in, and its name.

use std::path::Path;

use tallow_run_files::MODEL;

/// Returns the run folder of the model at `path`: the folder itself, or the one that holds the file `model.safetensors`. Any
/// other file stands for itself.
pub(crate) fn run_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if path.ends_with(MODEL) && path.is_file() => {
            if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            }
        }
        _ => path,
    }
}

/// Returns the name of the model at `path`. For a run folder, and for the file `model.safetensors` in a folder, it is the
/// folder's name; for any other file, the file's name without its extension.
pub(crate) fn name_of(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_of_run = whole.file_name().is_some_and(|name| name == MODEL);
    let named = match whole.parent().filter(|_| is_of_run) {
        Some(folder) => folder.file_name(),
        None if whole.is_dir() => whole.file_name(),
        None => whole.file_stem(),
    };
    named.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_called_as_their_folders() {
        assert_eq!(name_of(Path::new("no/such/runs/photos-1/model.safetensors")), "photos-1");
        assert_eq!(name_of(Path::new("no/such/cats.safetensors")), "cats");
        assert_eq!(name_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/..")), "trainer");
    }

    #[test]
    fn the_model_file_of_a_run_stands_for_its_folder() {
        let folder = std::env::temp_dir().join(format!("tallow-model-at-{}", std::process::id()));
        let run = folder.join("lr0.01");
        std::fs::create_dir_all(&run).unwrap();
        for name in [MODEL, "other.safetensors"] {
            std::fs::write(run.join(name), "").unwrap();
        }
        assert_eq!(run_of(&run.join(MODEL)), run);
        assert_eq!(run_of(&run), run);
        assert_eq!(run_of(&run.join("other.safetensors")), run.join("other.safetensors"));
        let names = [run.clone(), run.join(MODEL), run.join("other.safetensors")].map(|path| name_of(&path));
        assert_eq!(names, ["lr0.01", "lr0.01", "other"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
