//! Words lists and counts for messages.

use tallow_core::shown;

use super::Picture;

/// Largest number of names in a shortened list.
const MAX_NAMED: usize = 5;

/// Returns `a, b, c`, each name safe to print. A long list is shortened to the first names and the number of further
/// ones.
pub(super) fn some<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let mut text: Vec<String> = names.iter().take(MAX_NAMED).map(|name| shown(name).into_owned()).collect();
    if names.len() > MAX_NAMED {
        text.push(format!("and {} more", names.len() - MAX_NAMED));
    }
    text.join(", ")
}

/// Returns the names of pictures, like [`some`].
pub(super) fn some_pictures(pictures: &[Picture]) -> String {
    some(pictures.iter().map(|picture| picture.name.raw()))
}

/// Returns `a, b, c`, each name safe to print.
pub(super) fn all<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(shown).collect();
    names.join(", ")
}

/// Returns `1 picture`, `2 pictures`.
pub(crate) fn pictures(n: usize) -> String {
    if n == 1 { "1 picture".into() } else { format!("{n} pictures") }
}
