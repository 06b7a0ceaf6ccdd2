//! What a node has for services, and what of a library's needs is missing there.

use std::fmt;

use gantry_message::ServiceNumber;

use crate::description::Description;

/// What a node has configured.
pub trait Environment {
    /// The configuration text of a service, a JSON object; empty if there is none.
    fn configuration(&self, library: &str, service: &str) -> String;

    /// Whether there is a data source of this name.
    fn has_source(&self, name: &str) -> bool;
}

/// A node without data sources and configuration, such as for a look at what a library says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Bare;

impl Environment for Bare {
    fn configuration(&self, _: &str, _: &str) -> String {
        String::new()
    }

    fn has_source(&self, _: &str) -> bool {
        false
    }
}

/// Something that a service names and a node does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The service.
    pub service: ServiceNumber,
    /// What it needs.
    pub need: Need,
}

/// What a service can need of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A data source of this name.
    Source(String),
    /// This member of the configuration `[service.SECTION]`.
    Setting {
        /// The library's name; the service's own would do as well.
        section: String,
        /// The member.
        name: String,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = self.service;
        match &self.need {
            Need::Source(name) => {
                write!(f, "service {service} uses the data source \"{name}\"; add [data.{name}]")
            }
            Need::Setting { section, name } => {
                write!(
                    f,
                    "service {service} needs the setting \"{name}\"; add {name} = … to [service.{section}]"
                )
            }
        }
    }
}

impl Description {
    /// All that its services name and that the node does not have, in their order. A source that is named with a `?` can be
    /// done without.
    #[must_use]
    pub fn missing(&self, environment: &dyn Environment) -> Vec<Missing> {
        let mut missing = Vec::new();
        for service in &self.services {
            let mut note = |need| missing.push(Missing { service: service.number, need });
            for source in &service.sources {
                if !source.ends_with('?') && !environment.has_source(source) {
                    note(Need::Source(source.clone()));
                }
            }
            if service.settings.is_empty() {
                continue;
            }
            let text = environment.configuration(&self.name, &service.name);
            // What is no object has no members.
            let configured: serde_json::Map<_, _> = serde_json::from_str(&text).unwrap_or_default();
            for name in service.settings.iter().filter(|name| !configured.contains_key(*name)) {
                note(Need::Setting { section: self.name.clone(), name: name.clone() });
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::ServiceDescription;
    use gantry_message::Kind;

    struct Node;

    impl Environment for Node {
        fn configuration(&self, library: &str, service: &str) -> String {
            assert_eq!((library, service), ("fees", "fees.x"));
            r#"{"charset":"gbk"}"#.to_owned()
        }

        fn has_source(&self, name: &str) -> bool {
            name == "main"
        }
    }

    #[test]
    fn all_that_is_missing_is_listed_and_nothing_else() {
        let service = ServiceDescription {
            number: ServiceNumber::new(20_100_001).unwrap(),
            name: "fees.x".to_owned(),
            kind: Kind::Write,
            timeout_ms: 0,
            idempotent: false,
            description: String::new(),
            example: String::new(),
            example_reply: String::new(),
            sources: ["main", "archive", "passages?"].map(str::to_owned).to_vec(),
            settings: ["charset", "rate", "limit"].map(str::to_owned).to_vec(),
        };
        let description = Description {
            name: "fees".to_owned(),
            version: "1".to_owned(),
            build: String::new(),
            abi: "1.2".to_owned(),
            services: vec![service],
            migrations: Vec::new(),
        };
        let told: Vec<String> = description.missing(&Node).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "service 20100001 uses the data source \"archive\"; add [data.archive]",
                "service 20100001 needs the setting \"rate\"; add rate = … to [service.fees]",
                "service 20100001 needs the setting \"limit\"; add limit = … to [service.fees]",
            ]
        );
    }
}
