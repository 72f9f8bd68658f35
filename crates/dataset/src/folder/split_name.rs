//! The splits of a data set, and the usual spellings of their names.

/// A split of a data set, as its owner made it. The order of the variants is the order in which splits are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SplitName {
    /// For training.
    Train,
    /// For choosing the best epoch.
    Val,
    /// For one evaluation at the end.
    Test,
}

impl SplitName {
    /// All splits, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// Returns the adjective, as in "training pictures".
    pub fn adjective(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Val => "validation",
            Self::Test => "test",
        }
    }

    /// Returns the split that `word` names, in upper or lower case: `train`, `Validation`, `dev`, …
    pub(super) fn of_word(word: &str) -> Option<Self> {
        match word.to_lowercase().as_str() {
            "train" | "training" | "trn" | "trainset" => Some(Self::Train),
            "val" | "valid" | "validation" | "validate" | "dev" | "eval" | "evaluation" | "valset" => {
                Some(Self::Val)
            }
            "test" | "testing" | "tst" | "testset" => Some(Self::Test),
            _ => None,
        }
    }

    /// Returns the split that exactly one word of a folder's name names, and the other words: `seg_train` gives
    /// `(Train, "seg")`.
    pub(super) fn of_name(name: &str) -> Option<(Self, String)> {
        let words: Vec<&str> = name.split(['_', '-', '.', ' ']).filter(|word| !word.is_empty()).collect();
        let mut named = words.iter().enumerate().filter_map(|(i, word)| Some((i, Self::of_word(word)?)));
        let (Some((at, split)), None) = (named.next(), named.next()) else { return None };
        let rest: Vec<&str> =
            words.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, word)| *word).collect();
        Some((split, rest.join(" ").to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_spellings() {
        assert_eq!(SplitName::of_word("Training"), Some(SplitName::Train));
        assert_eq!(SplitName::of_word("VALID"), Some(SplitName::Val));
        assert_eq!(SplitName::of_word("dev"), Some(SplitName::Val));
        assert_eq!(SplitName::of_word("trains"), None);
        assert_eq!(SplitName::of_name("test"), Some((SplitName::Test, String::new())));
        assert_eq!(SplitName::of_name("seg_train"), Some((SplitName::Train, "seg".into())));
        assert_eq!(SplitName::of_name("Test-Images"), Some((SplitName::Test, "images".into())));
        assert_eq!(SplitName::of_name("train_test"), None);
        assert_eq!(SplitName::of_name("cat"), None);
    }
}
