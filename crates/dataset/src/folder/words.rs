//! Wording of lists and counts in messages.

use tallow_core::shown;

use super::Picture;

/// How many of many are named.
const MAX_NAMED: usize = 5;

/// `a, b, c`, each fit to be shown; of many the first, and how many more there are.
pub(super) fn some<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let mut text: Vec<String> = names.iter().take(MAX_NAMED).map(|name| shown(name).into_owned()).collect();
    if names.len() > MAX_NAMED {
        text.push(format!("and {} more", names.len() - MAX_NAMED));
    }
    text.join(", ")
}

/// The names of pictures, as [`some`].
pub(super) fn some_pictures(pictures: &[Picture]) -> String {
    some(pictures.iter().map(|picture| picture.name.as_str()))
}

/// `a, b, c`, each fit to be shown.
pub(super) fn all<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(shown).collect();
    names.join(", ")
}

/// `1 picture`, `2 pictures`.
pub(crate) fn pictures(n: usize) -> String {
    if n == 1 { "1 picture".into() } else { format!("{n} pictures") }
}
