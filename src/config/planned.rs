//! What the plan of the protocol names and this version does not take: said in the reference, and to
//! whoever writes it into a file.

/// An option that is not there, or a whole section.
pub(super) struct Planned {
    section: &'static str,
    /// `None`: the section.
    key: Option<&'static str>,
    /// As the reference calls it.
    pub(super) shown: &'static str,
    /// What there is in its place.
    pub(super) instead: &'static str,
}

pub(super) const PLANNED: [Planned; 5] = [
    Planned {
        section: "broker",
        key: None,
        shown: "`[broker]`: `kind`, `url`, `prefix`, `on_loss`",
        instead: "none: rooms and limits are those of one server",
    },
    Planned {
        section: "shutdown",
        key: Some("pace"),
        shown: "`shutdown.pace`",
        instead: "`retry_in_ms` tells each client when to come back, at random within five seconds",
    },
    Planned {
        section: "shutdown",
        key: Some("handover_socket"),
        shown: "`shutdown.handover_socket`",
        instead: "none: a restart closes connections, and clients come back",
    },
    Planned {
        section: "namespace",
        key: Some("slow_policy"),
        shown: "`slow_policy` of a namespace",
        instead: "`messaging.slow_policy`, which holds for all rooms",
    },
    Planned {
        section: "compression",
        key: Some("server_no_context_takeover"),
        shown: "`compression.server_no_context_takeover`",
        instead: "always so: an idle connection holds no window",
    },
];

/// What is said of an option, or with no `key` of a section, that is not there, but planned.
pub(super) fn message(section: &str, key: Option<&str>) -> Option<String> {
    let planned = PLANNED
        .iter()
        .find(|planned| planned.section == section && planned.key == key)?;
    Some(format!(
        "not in this version; instead {}",
        planned.instead.replace('`', "")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn what_is_there_is_not_planned() {
        for Planned { section, key, .. } in &PLANNED {
            let header = match *section {
                "namespace" => "[[namespace]]".to_owned(),
                section => format!("[{section}]"),
            };
            let setting = key.map_or_else(String::new, |key| format!("{key} = 1"));
            let text = format!("{header}\n{setting}\n");
            let sources = Sources {
                file: Some(("c".into(), text)),
                ..Sources::default()
            };
            let problems = load(&sources).unwrap_err();
            let said = problems[0].to_string();
            assert!(
                said.contains("not in this version; instead "),
                "{section} {key:?}: {said}"
            );
        }
        let said = message("namespace", Some("slow_policy")).unwrap();
        assert_eq!(
            said,
            "not in this version; instead messaging.slow_policy, which holds for all rooms"
        );
        assert_eq!(message("namespace", Some("persist")), None);
    }
}
