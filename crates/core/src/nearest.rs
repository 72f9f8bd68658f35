//! Suggestions for mistyped names: the known name that was probably meant.

use crate::shown::shown;

/// Returns the name of `names` that `word` is probably a typing error for: the nearest one, and the first of several
/// equally near ones.
///
/// Two swapped letters count as one error. Case, dashes, underscores and spaces do not count. At most a third of the
/// letters of `word` (and at least one) may be wrong: with more errors it is a different word.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bare = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let most = (word.chars().count() / 3).max(1);
    let near = names.into_iter().map(|name| {
        let slips = strsim::osa_distance(&bare(word), &bare(name));
        ((slips, strsim::osa_distance(word, name)), name)
    });
    let is_near = |slips: usize, name: &str| slips <= most && slips < bare(name).chars().count();
    near.filter(|((slips, _), name)| is_near(*slips, name))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Returns `: did you mean "cnn-5"?` if one of `names` is near `word`, and an empty text if not. For the end of a
/// sentence.
pub fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, names).map(|name| format!(": did you mean \"{}\"?", shown(name))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let names = ["cnn", "cnn-5", "keras", "keras-resnet", "cifar10", "cifar100", "f32", "bf16"];
        let cases = [
            ("cnn5", "cnn-5"),
            ("cnn_5", "cnn-5"),
            ("CNN", "cnn"),
            ("karas", "keras"),
            ("keras-restnet", "keras-resnet"),
            ("cifar-10", "cifar10"),
            ("cifar-100", "cifar100"),
            ("f23", "f32"),
        ];
        for (word, name) in cases {
            assert_eq!(nearest(word, names), Some(name), "{word}");
        }
        assert_eq!(did_you_mean("kears", names), ": did you mean \"keras\"?");
    }

    #[test]
    fn other_words_are_left_alone() {
        for word in ["nope", "x", "", "photographs of my cat", "vgg"] {
            assert_eq!(nearest(word, ["cnn", "lr", "a", "epochs"]), None, "{word}");
        }
        assert_eq!(did_you_mean("nope", ["cnn"]), "");
    }
}
