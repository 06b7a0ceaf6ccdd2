//! `gantry data …` on the command line.

use clap::{Args, Subcommand};
use jiff::civil::Date;

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Bring the tables of the platform and of every library of the configuration up to date.
    ///
    /// A node does so at each start; this does it before, or shows what it would do. Nodes may run meanwhile.
    #[command(after_help = "Examples:\n  gantry data migrate --dry-run\n  gantry data migrate --source main")]
    Migrate(MigrateArguments),
    /// Fill a database with customers, cards and passages whose books balance.
    ///
    /// Brings its tables up to date first. The same arguments give the same rows. A database that has accounts is
    /// refused without --append.
    #[command(
        after_help = "Examples:\n  gantry data seed --accounts 1000000 --passages 5000000\n  gantry data seed --accounts 1000 --append"
    )]
    Seed(SeedArguments),
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArguments {
    /// Only this data source.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Show which steps of the libraries are missing, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SeedArguments {
    /// Accounts, each with a card and a tag.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) accounts: u64,
    /// Passages over all accounts [default: five for each]
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    pub(crate) passages: Option<u64>,
    /// Days over which the passages are spread.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub(crate) days: u32,
    /// The day before which they end.
    #[arg(long, value_name = "DATE", default_value = "2026-01-01")]
    pub(crate) until: Date,
    /// Other rows for another seed.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The data source.
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub(crate) source: String,
    /// Add to the accounts that there are.
    #[arg(long)]
    pub(crate) append: bool,
}
