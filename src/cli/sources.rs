//! Collects the texts that a configuration is made from: the file, the process's variables, flags.

use std::path::Path;

use campanile::config::{Flag, Origin, Problem, Sources};

use super::{FileArgs, ServeArgs};

/// File and variables. Errors: the file cannot be read, or is not UTF-8.
pub(crate) fn of_file(args: &FileArgs) -> Result<Sources, Vec<Problem>> {
    let file = args.config.as_deref().map(read).transpose()?;
    // What is not UTF-8 keeps its shape: no option takes the replacement character.
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let mut environment: Vec<_> = std::env::vars_os()
        .map(|(name, value)| (lossy(name), lossy(value)))
        .collect();
    environment.sort();
    Ok(Sources {
        file,
        environment,
        ..Sources::default()
    })
}

/// File, variables and flags. Errors: as of [`of_file`].
pub(crate) fn of_serve(args: &ServeArgs) -> Result<Sources, Vec<Problem>> {
    Ok(Sources {
        development: args.dev,
        flags: flags(args),
        ..of_file(&args.file)?
    })
}

/// Where the configuration is from.
pub(crate) fn origin(args: &ServeArgs) -> Origin {
    match &args.file.config {
        Some(path) if !args.dev => Origin::File(path.clone()),
        _ => Origin::Development,
    }
}

fn read(path: &Path) -> Result<(String, String), Vec<Problem>> {
    let source = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((source, text)),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            Err(vec![Problem {
                source,
                line: None,
                key: String::new(),
                message,
            }])
        }
    }
}

fn flags(args: &ServeArgs) -> Vec<Flag> {
    let flag = |name, key, value| Flag {
        name,
        section: "server",
        key,
        value,
    };
    let listen = (!args.listen.is_empty()).then(|| args.listen.join(","));
    let admin_listen = (!args.admin_listen.is_empty()).then(|| args.admin_listen.join(","));
    let verbose = args.verbose.then(|| "true".to_string());
    [
        ("--listen", "listen", listen),
        ("--admin-listen", "admin_listen", admin_listen),
        ("--shards", "shards", args.shards.clone()),
        ("--verbose", "verbose_logging", verbose),
    ]
    .into_iter()
    .filter_map(|(name, key, value)| Some(flag(name, key, value?)))
    .collect()
}
