//! `trainer data caches`: lists and removes cached features of frozen backbones under the data folder.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use tallow_core::shown::{shown, shown_path};
use tallow_core::{Foreign, Progress as _};
use tallow_training::{AboutFeatures, FeatureCache, feature_caches};

use crate::App;
use crate::args::CachesArgs;
use crate::output;

#[derive(Serialize)]
struct CacheEntry<'a> {
    key: String,
    path: Foreign,
    /// Number of pictures with features; the number of mirror images follows.
    n_pictures: usize,
    n_mirrored: usize,
    n_bytes: u64,
    last_used_unix_secs: u64,
    /// How the features were computed; `None` for features of an older program, which are no longer used.
    about: Option<&'a AboutFeatures>,
}

#[derive(Serialize)]
struct Removed {
    removed: Vec<String>,
    freed_bytes: u64,
}

pub(crate) fn run(args: &CachesArgs, app: &App) -> Result<ExitCode> {
    let caches = feature_caches(&args.data_dir)?;
    match &args.remove {
        Some(keys) => remove(&chosen(&caches, args, keys)?, app)?,
        None if app.global.json => output::json(&caches.iter().map(entry).collect::<Vec<_>>())?,
        None => print(&caches, args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn entry(cache: &FeatureCache) -> CacheEntry<'_> {
    CacheEntry {
        key: cache.key(),
        path: Foreign::of_path(&cache.path),
        n_pictures: cache.n_pictures,
        n_mirrored: cache.n_mirrored,
        n_bytes: cache.n_bytes,
        last_used_unix_secs: cache.last_used.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
        about: cache.about.as_ref(),
    }
}

/// Returns the caches whose keys begin with one of `keys`, in their own order. It is an error if one of `keys` matches no
/// cache or several.
fn chosen<'a>(
    caches: &'a [FeatureCache],
    args: &CachesArgs,
    keys: &[String],
) -> Result<Vec<&'a FeatureCache>> {
    if let Some(days) = args.unused_days {
        ensure!(keys.is_empty(), "--unused-days chooses the caches: leave the keys out");
        let now = SystemTime::now();
        let is_old = |cache: &&FeatureCache| {
            now.duration_since(cache.last_used).is_ok_and(|age| age >= Duration::from_secs(days * 86_400))
        };
        return Ok(caches.iter().filter(is_old).collect());
    }
    match (args.all, keys) {
        (true, []) => return Ok(caches.iter().collect()),
        (true, _) => bail!("--all removes every cache: give either keys or --all"),
        (false, []) => bail!("--remove: name the keys of caches, or give --unused-days or --all"),
        (false, _) => {}
    }
    let mut chosen = BTreeMap::new();
    for key in keys {
        let fits: Vec<_> =
            caches.iter().enumerate().filter(|(_, cache)| cache.key().starts_with(key)).collect();
        match fits[..] {
            [(place, cache)] if !key.is_empty() => chosen.insert(place, cache),
            [] => bail!("--remove {}: there is no such cache; `trainer data caches` lists them", shown(key)),
            _ => {
                bail!("--remove {}: {} caches begin with this: give more of the key", shown(key), fits.len())
            }
        };
    }
    Ok(chosen.into_values().collect())
}

fn remove(caches: &[&FeatureCache], app: &App) -> Result<()> {
    let mut done = Removed { removed: Vec::new(), freed_bytes: 0 };
    for cache in caches {
        done.freed_bytes += cache.remove()?;
        done.removed.push(cache.key());
        app.progress.say(&format!("Removed {}", shown_path(&cache.path)));
    }
    if app.global.json {
        return output::json(&done);
    }
    output::line(&format!(
        "{} freed, {} removed",
        size(done.freed_bytes),
        output::counted(caches.len() as u64, "cache")
    ))
}

fn print(caches: &[FeatureCache], args: &CachesArgs) -> Result<()> {
    let now = SystemTime::now();
    for cache in caches {
        let used = age(now.duration_since(cache.last_used).unwrap_or_default());
        let used = format!("{}, last used {used}", size(cache.n_bytes));
        let Some(AboutFeatures { n_features, key }) = &cache.about else {
            output::line(&format!("{}  from an older version of the program: nothing uses it", cache.key()))?;
            output::line(&format!("    {used}"))?;
            continue;
        };
        let mirrored = match cache.n_mirrored {
            0 => String::new(),
            n => format!(", {n} mirrored"),
        };
        output::line(&format!("{}  {}, {n_features} features a picture", cache.key(), key.trunk.shown()))?;
        output::line(&format!("    {}{mirrored}", output::counted(cache.n_pictures as u64, "picture")))?;
        let [precision, device, isa] = [&key.precision, &key.device, &key.isa].map(Foreign::shown);
        output::line(&format!("    {precision} on {device} ({isa}); {used}"))?;
    }
    let n_bytes = caches.iter().map(|cache| cache.n_bytes).sum();
    let folder = args.data_dir.join("features");
    output::line(&match caches.len() {
        0 => format!("No features are kept in {}.", shown_path(&folder)),
        n => format!(
            "{}, {} in {}. To remove some: trainer data caches --remove KEY...; all: --remove --all",
            output::counted(n as u64, "cache"),
            size(n_bytes),
            shown_path(&folder)
        ),
    })
}

/// Formats bytes in the unit that leaves at most three digits before the point.
fn size(n_bytes: u64) -> String {
    let mut value = n_bytes as f64 / 1e3;
    for unit in ["kB", "MB"] {
        if value < 999.95 {
            return format!("{value:.1} {unit}");
        }
        value /= 1e3;
    }
    format!("{value:.1} GB")
}

/// Formats a time span in the past.
fn age(since: Duration) -> String {
    let minutes = since.as_secs() / 60;
    match minutes {
        0 => "just now".to_owned(),
        1..120 => format!("{minutes} min ago"),
        120..2880 => format!("{} h ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_read_well() {
        let sizes = [(0, "0.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (1_234_567_890, "1.2 GB")];
        for (n_bytes, text) in sizes {
            assert_eq!(size(n_bytes), text);
        }
        let ages = [(59, "just now"), (60, "1 min ago"), (7_200, "2 h ago"), (200_000, "2 days ago")];
        for (secs, text) in ages {
            assert_eq!(age(Duration::from_secs(secs)), text);
        }
    }
}
