//! Decides what a level of folders is: a wrapping folder, classes, or splits (see `splits`).

use tallow_core::shown;

use super::classes::{Draft, Labelled, archive_hint};
use super::left_alone::contents;
use super::tree::{Folder, last};
use super::{FolderError, SplitName, kind, splits, words};

/// Role of a folder on the level of classes. The rule and its reason are in the module documentation of `folder`.
enum Standing {
    Class,
    /// A class without pictures.
    Empty,
    /// A run folder, or a folder that holds nothing but runs.
    Run,
    /// A folder of notes only: texts, tables, programs, models.
    Notes,
}

fn standing(folder: &Folder) -> Standing {
    let within = folder.within();
    if folder.is_run() {
        Standing::Run
    } else if within.iter().any(|folder| !folder.pictures.is_empty()) {
        Standing::Class
    } else if within.iter().any(|within| within.folders.iter().any(Folder::is_run)) {
        Standing::Run
    } else if within.iter().any(|folder| !folder.others.is_empty())
        && within.iter().all(|folder| {
            folder.bad.is_empty() && folder.others.iter().all(|file| kind::is_note(file.name.raw()))
        })
    {
        Standing::Notes
    } else {
        Standing::Empty
    }
}

/// Returns the folders that have pictures or should have some.
fn candidates(level: &Folder) -> Vec<&Folder> {
    let may_be_class = |folder: &&Folder| matches!(standing(folder), Standing::Class | Standing::Empty);
    level.folders.iter().filter(may_be_class).collect()
}

/// Returns the one folder that holds all pictures of `level` and is neither a class nor a split: it has folders of
/// pictures, or pictures and a table.
pub(super) fn wrapped(level: &Folder) -> Option<&Folder> {
    let candidates = candidates(level);
    let [only] = candidates.as_slice() else { return None };
    let has_table = only.others.iter().any(|file| kind::is_table(file.name.raw()));
    let is_split = SplitName::of_word(only.own_name()).is_some();
    let wraps = only.pictures.is_empty() && only.with_pictures().next().is_some() && !is_split;
    (level.pictures.is_empty() && only.n_pictures() > 0 && (wraps || has_table)).then_some(*only)
}

/// Returns notices: a wrapping folder was entered, what it holds, and what was skipped beside it.
pub(super) fn wrapping_notices(level: &Folder, inner: &Folder) -> Vec<String> {
    let beside = if level.name.is_empty() { "the folder".into() } else { format!("{}/", shown(&level.name)) };
    let holds = words::some(inner.with_pictures().map(Folder::own_name));
    let holds = if holds.is_empty() { words::pictures(inner.pictures.len()) } else { holds };
    let own_name = shown(inner.own_name());
    let mut notices =
        vec![format!("{beside} holds one folder, {own_name}, which holds {holds}: using that folder")];
    notices.extend(no_classes(level));
    notices
}

/// Lists the classes or splits of a level that is not wrapped.
pub(super) fn lay_out(level: &Folder) -> Result<Draft, FolderError> {
    let mut draft = Draft::about(level.path.clone());
    match splits::of_level(level, &candidates(level))? {
        splits::Level::Splits { parts, others } => {
            for (split, folder) in parts {
                add_split(&mut draft, split, folder)?;
            }
            for folder in others {
                draft.notices.push(format!(
                    "{} is not a split and is left out ({})",
                    shown(&folder.name),
                    words::pictures(folder.n_pictures())
                ));
                draft.unlabelled.extend(folder.all_pictures());
            }
            draft.notices.extend(no_classes(level));
        }
        splits::Level::Classes { notice } => {
            draft.notices.extend(notice);
            add_classes(&mut draft, None, level)?;
        }
    }
    draft.unlabelled.extend(level.pictures.iter().cloned());
    draft.hint = hint(level, &draft);
    if draft.labelled.is_empty() && !draft.unlabelled.is_empty() {
        let found = format!(
            "{} ({})",
            words::pictures(draft.unlabelled.len()),
            words::some_pictures(&draft.unlabelled)
        );
        return Err(FolderError::NoClasses { path: draft.about, found, hint: draft.hint });
    }
    Ok(draft)
}

fn add_split(draft: &mut Draft, split: SplitName, folder: &Folder) -> Result<(), FolderError> {
    let folder = splits::unwrapped(split, folder);
    if folder.with_pictures().next().is_none() && !folder.pictures.is_empty() {
        draft
            .notices
            .push(format!("{} has no class folders: its pictures have no labels", shown(&folder.name)));
    }
    draft.unlabelled.extend(folder.pictures.iter().cloned());
    add_classes(draft, Some(split), folder)
}

/// Adds the class folders of `level`. A class that validation or test lacks is not an error here; the counts of
/// pictures show it later.
fn add_classes(draft: &mut Draft, split: Option<SplitName>, level: &Folder) -> Result<(), FolderError> {
    for folder in candidates(level) {
        let Some(class) = folder.path.file_name().and_then(|name| name.to_str()) else {
            return Err(FolderError::ClassName { path: folder.path.clone() });
        };
        let pictures = folder.all_pictures();
        if pictures.is_empty() && matches!(split, None | Some(SplitName::Train)) {
            draft.empty.push((class.into(), contents(folder)));
        }
        draft.notices.extend(model_beside(folder));
        let labelled = |picture| Labelled { split, class: class.into(), picture };
        draft.labelled.extend(pictures.into_iter().map(labelled));
    }
    draft.notices.extend(no_classes(level));
    if split.is_none() {
        draft.notices.extend(splits_within(level));
    }
    Ok(())
}

/// Returns notices that name the folders of a level that are not classes.
fn no_classes(level: &Folder) -> Vec<String> {
    let mut notices = Vec::new();
    for folder in &level.folders {
        let why = match standing(folder) {
            Standing::Run => format!("is from a training run ({})", run_contents(folder)),
            Standing::Notes => format!("holds no picture ({})", contents(folder)),
            Standing::Class | Standing::Empty => continue,
        };
        notices.push(format!("{}/ {why}: not a class", shown(&folder.name)));
    }
    let system: Vec<&str> = level
        .system
        .iter()
        .map(|name| last_part(name))
        .filter(|name| name.ends_with('/') && !name.starts_with('.'))
        .collect();
    if !system.is_empty() {
        notices.push(format!("system folders, not classes: {}", words::all(system)));
    }
    notices
}

/// Lists the pictures of a run folder by name: only run folders exclude pictures from the data set.
fn run_contents(folder: &Folder) -> String {
    let mut pictures = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        pictures.extend(folder.pictures.iter().map(|picture| picture.name.raw()));
        folders.extend(&folder.folders);
    }
    pictures.sort_unstable();
    match pictures.len() {
        0 => "no pictures".into(),
        n => format!("{}: {}", words::pictures(n), words::some(pictures)),
    }
}

/// Returns the last part of a folder's name, with its `/`.
fn last_part(name: &str) -> &str {
    let stem = name.strip_suffix('/').unwrap_or(name);
    &name[stem.len() - last(stem).len()..]
}

/// Returns a notice if a class holds a trained model, because the folder may then be the output of another program's
/// training.
fn model_beside(folder: &Folder) -> Option<String> {
    let within = folder.within();
    let model =
        within.iter().flat_map(|folder| &folder.others).find(|file| kind::is_model(file.name.raw()))?;
    Some(format!(
        "{}/ is a class of {}, and holds a trained model ({}): move the folder away if a training run wrote \
         it",
        shown(&folder.name),
        words::pictures(folder.n_pictures()),
        model.name.shown()
    ))
}

/// Returns a notice if every class folder holds train/, val/ or test/: splits must be above the classes, not below.
fn splits_within(level: &Folder) -> Option<String> {
    let is_split = |folder: &Folder| SplitName::of_word(folder.own_name()).is_some();
    let holds_splits = |class: &&Folder| {
        class.pictures.is_empty() && class.with_pictures().count() > 1 && class.with_pictures().all(is_split)
    };
    let classes = candidates(level);
    (!classes.is_empty() && classes.iter().all(holds_splits)).then(|| {
        let inner = words::some(classes[0].with_pictures().map(Folder::own_name));
        format!(
            "each class folder holds {inner}: their pictures are taken together, because the upper folder \
             names the class; for splits, put {inner} at the top and the class folders into each"
        )
    })
}

/// Returns a hint at what the user may have meant if this is not a data set: an archive, or a folder further down.
fn hint(level: &Folder, draft: &Draft) -> String {
    let mut hint = archive_hint(level);
    let inner: Vec<&Folder> =
        candidates(level).into_iter().filter(|folder| folder.with_pictures().next().is_some()).collect();
    if let (false, [only]) = (draft.labelled.is_empty(), inner.as_slice()) {
        let classes = words::some(only.with_pictures().map(Folder::own_name));
        hint.push_str(&format!(
            "; {} holds {classes}: give its path if these are the classes",
            shown(&only.name)
        ));
    }
    hint
}
