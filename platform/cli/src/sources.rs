//! The data sources of the configuration, for helpers that bring their tables up to date.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use gantry_datasource::{Access, Connection, configure};
use gantry_settings::Settings;

/// Connections to data sources, opened when first used.
pub(crate) struct Sources<'a> {
    settings: &'a Settings,
    open: BTreeMap<String, Box<dyn Connection>>,
}

impl<'a> Sources<'a> {
    /// The sources of a configuration; none is opened yet.
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self { settings, open: BTreeMap::new() }
    }

    /// The connection to a source.
    pub(crate) fn connection(&mut self, name: &str) -> anyhow::Result<&mut dyn Connection> {
        if !self.open.contains_key(name) {
            let Some(data) = self.settings.data.get(name) else {
                bail!(
                    "there is no data source \"{name}\"; add [data.{name}] to {}",
                    self.settings.file.display()
                )
            };
            let connection = configure(name, data).and_then(|source| source.connect(Access::ReadWrite));
            self.open.insert(name.to_owned(), connection.with_context(|| format!("data source {name}"))?);
        }
        let connection = self.open.get_mut(name).context("it was just opened")?;
        Ok(connection.as_mut())
    }
}
