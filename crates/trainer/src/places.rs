//! Records the places of a run's data and weights, so that the run can be resumed and tested from any folder.

use std::path::{Path, PathBuf};

use tallow_core::{path_of, path_text};
use tallow_training::Recipe;

/// Makes the paths in a new run's recipe absolute: those of the data folder, of pretrained weights and of the model that it
/// starts from. A path that does not exist stays as it was typed, because the recipe may be for another machine. But the data
/// folder will exist by the end of a run that `keeps_features` in it.
pub(crate) fn settle(recipe: &mut Recipe, keeps_features: bool) {
    if keeps_features || may_exist(&recipe.data.data_dir) {
        recipe.data.data_dir = whole(&recipe.data.data_dir);
    }
    if let Some(path) = recipe.init_from.as_mut().filter(|path| may_exist(path)) {
        *path = whole(path);
    }
    settle_weights(recipe);
}

/// Makes the path of pretrained weights absolute, if they are a path.
pub(crate) fn settle_weights(recipe: &mut Recipe) {
    if let Some(toml::Value::String(text)) = recipe.model.get_mut("weights") {
        let path = path_of(text);
        if may_exist(&path) {
            *text = path_text(&whole(&path));
        }
    }
}

/// Whether something is at `path`, or the system cannot tell: the message about that names the whole path.
fn may_exist(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// Returns the absolute path, with its symbolic links.
pub(crate) fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_gets_a_whole_path_and_the_rest_stays() {
        let mut recipe = tallow_training::load_recipe("cnn", &[]).unwrap();
        recipe.data.data_dir = "src".into();
        recipe.init_from = Some("no such run".into());
        recipe.model.insert("weights".into(), "hf:timm/resnet18".into());
        settle(&mut recipe, false);
        assert_eq!(recipe.data.data_dir, std::env::current_dir().unwrap().join("src"));
        assert_eq!(recipe.init_from, Some("no such run".into()));
        assert_eq!(recipe.model["weights"].as_str(), Some("hf:timm/resnet18"));
        recipe.data.data_dir = "not yet".into();
        settle(&mut recipe, false);
        assert_eq!(recipe.data.data_dir, PathBuf::from("not yet"));
        settle(&mut recipe, true);
        assert_eq!(recipe.data.data_dir, std::env::current_dir().unwrap().join("not yet"));
    }
}
