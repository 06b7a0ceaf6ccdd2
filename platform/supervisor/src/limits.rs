//! Limits of the supervisor that no key changes, each with its unit and its reason.

use std::time::Duration;

/// Bytes of one request line on the admin socket: far above any command, so that nobody fills the supervisor's memory.
pub const ADMIN_LINE_BYTES_MAX: usize = 64 << 10;

/// Connections to the admin socket at once; the next one is closed. Operators and monitors are few.
pub const ADMIN_CLIENTS_MAX: usize = 32;

/// How long an admin client may neither ask nor read before it is closed.
pub const ADMIN_IDLE_MAX: Duration = Duration::from_secs(60);

/// Bytes of a helper's answer: a snapshot of 65,536 services stays below.
pub const HELPER_OUTPUT_BYTES_MAX: usize = 32 << 20;

/// Bytes kept of what a helper says on standard error; the end is kept, where the reason stands.
pub const HELPER_ERROR_BYTES_MAX: usize = 16 << 10;

/// Helpers waiting their turn; above it operators are told to try later.
pub const HELPERS_WAITING_MAX: usize = 64;

/// How long the first helper may take: it deploys every configured library and brings all tables up to date.
pub const PREPARE_LIMIT: Duration = Duration::from_secs(600);

/// How long any other helper may take; a deployment may have to migrate tables.
pub const HELPER_LIMIT: Duration = Duration::from_secs(300);

/// How long the output of a dead helper is waited for, in case something that escaped its group holds the pipe.
pub const HELPER_PIPE_LIMIT: Duration = Duration::from_secs(2);

/// How often old rows of `gantry_request` are removed.
pub const PRUNE_PERIOD: Duration = Duration::from_secs(600);

/// How long a command waits until every worker serves the new generation.
pub const SERVED_LIMIT: Duration = Duration::from_secs(60);

/// The first wait after a child that died before it was ready; it doubles up to `supervisor.restart_backoff_max`.
pub const BACK_OFF_FIRST: Duration = Duration::from_millis(100);

/// How often one child may die before the node was ever ready; then the start has failed.
pub const START_DEATHS_MAX: u32 = 3;

/// Bytes of a child's file of standard error above which a new life begins it anew.
pub const STDERR_FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of the end of that file that are quoted when a start fails.
pub const STDERR_QUOTE_BYTES_MAX: u64 = 2 << 10;

/// Rows of the process table beyond those that the configuration fills, for successors while they are replaced.
pub const PROCESS_ROWS_SPARE: u32 = 8;

/// Rows of the library table: two versions of each of the most libraries that a configuration may name.
pub const LIBRARY_ROWS: u32 = 512;

/// Reports of deaths inside services that are kept; the oldest goes.
pub const REPORTS_MAX: usize = 500;

/// Deaths remembered for each service version; `service.quarantine_deaths` is at most this.
pub const DEATHS_REMEMBERED_MAX: usize = 1000;

/// How long a killed process is waited for; longer only if it hangs in the kernel.
pub const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Numbers behind the doorbells that are looked at for listeners of an earlier supervisor; settings allow fewer addresses.
pub const LISTENERS_MAX: usize = 64;

/// How often the services are asked for again when a supervisor that took over a running node cannot read them.
pub const PREPARE_AGAIN: Duration = Duration::from_secs(5);

/// How long another program may take to say what it is.
pub const LAYOUT_LIMIT: Duration = Duration::from_secs(30);
