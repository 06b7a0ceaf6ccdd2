//! `gantry data`: the data sources themselves, without a node.

mod migrate;
mod seed;

use std::process::ExitCode;

use gantry_settings::Settings;

use crate::arguments::DataCommand;

/// `gantry data migrate`, `gantry data seed`
pub(crate) fn run(settings: &Settings, command: &DataCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        DataCommand::Migrate(arguments) => migrate::run(settings, arguments, json),
        DataCommand::Seed(arguments) => seed::run(settings, arguments, json),
    }
}
