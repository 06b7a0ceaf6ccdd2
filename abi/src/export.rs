//! The macro by which a library exports its services.

/// Exports the services of a library: the one symbol that the platform looks for, with a static
/// descriptor. Written once per library, at the top of its `lib.rs`:
///
/// ```
/// #![deny(unsafe_code)]
/// use gantry_abi::{Context, CreateError, Host, Service, ServiceError};
///
/// struct Echo;
///
/// impl Service for Echo {
///     fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
///         Ok(Self)
///     }
///     fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
///         context.reply(request)
///     }
/// }
///
/// gantry_abi::export_library! {
///     name: "echo",
///     version: env!("CARGO_PKG_VERSION"),
///     migrations: [],
///     services: [
///         {
///             number: 19990001,
///             kind: Read,
///             name: "example.echo",
///             service: Echo,
///             timeout_ms: 0,
///             idempotent: true,
///             description: "Replies what it is sent.",
///             example: "hello",
///             example_reply: "hello",
///             sources: [],
///         },
///     ],
/// }
/// # fn main() {}
/// ```
///
/// `build`, after `version`, `timeout_ms`, `idempotent`, `example`, `example_reply` and `settings` may be left
/// out, the rest may not; the order is fixed. `migrations` are made by
/// [`migration`](crate::migration). Panics of a service are caught at the border and become 306.
#[macro_export]
macro_rules! export_library {
    (
        name: $library:expr,
        version: $version:expr,
        $(build: $build:expr,)?
        migrations: [$($migration:expr),* $(,)?],
        services: [$({
            number: $number:expr,
            kind: $kind:ident,
            name: $name:expr,
            service: $service:ty,
            $(timeout_ms: $timeout_ms:expr,)?
            $(idempotent: $idempotent:expr,)?
            description: $description:expr,
            $(example: $example:expr,)?
            $(example_reply: $example_reply:expr,)?
            $(settings: [$($setting:expr),* $(,)?],)?
            sources: [$($source:expr),* $(,)?] $(,)?
        }),+ $(,)?] $(,)?
    ) => {
        const _: () = {
            static SERVICES: &[$crate::GantryService] = &[$(
                $crate::export::service::<$service>($crate::export::Described {
                    number: $number,
                    kind: $crate::Kind::$kind,
                    name: $name,
                    timeout_ms: 0 $(+ $timeout_ms)?,
                    idempotent: false $(|| $idempotent)?,
                    description: $description,
                    example: $crate::export::last(&["" $(, $example)?]),
                    example_reply: $crate::export::last(&["" $(, $example_reply)?]),
                    sources: {
                        static SOURCES: &[$crate::export::SourceName] =
                            &[$($crate::export::SourceName::new($source)),*];
                        SOURCES
                    },
                    settings: {
                        static SETTINGS: &[$crate::export::SourceName] =
                            &[$($($crate::export::SourceName::new($setting)),*)?];
                        SETTINGS
                    },
                }),
            )+];
            static MIGRATIONS: &[$crate::GantryMigration] = &[$($migration),*];
            static LIBRARY: $crate::GantryLibrary = $crate::export::library(
                $library,
                $version,
                $crate::export::last(&["" $(, $build)?]),
                SERVICES,
                MIGRATIONS,
            );

            /// The symbol that the platform looks for.
            #[allow(unsafe_code, reason = "the one door of a service library: its exported symbol")]
            #[unsafe(no_mangle)]
            extern "C-unwind" fn gantry_service_entry() -> *const $crate::GantryLibrary {
                &LIBRARY
            }
        };
    };
}

use crate::border;
use crate::bytes::GantryText;
use crate::descriptor::{
    GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR, GANTRY_FLAG_IDEMPOTENT, GANTRY_MAGIC, GantryLibrary, GantryMigration,
    GantryService, Kind,
};
use crate::service::Service;

/// One service as written in the macro.
#[doc(hidden)]
pub struct Described {
    pub number: u32,
    pub kind: Kind,
    pub name: &'static str,
    pub timeout_ms: u32,
    pub idempotent: bool,
    pub description: &'static str,
    pub example: &'static str,
    pub example_reply: &'static str,
    pub sources: &'static [SourceName],
    pub settings: &'static [SourceName],
}

/// The name of a data source or of a member of the configuration, as it lies in a descriptor.
#[doc(hidden)]
#[repr(transparent)]
pub struct SourceName(GantryText);

// SAFETY: it points to constant text that lives until the process ends.
unsafe impl Sync for SourceName {}

impl SourceName {
    #[doc(hidden)]
    pub const fn new(name: &'static str) -> Self {
        Self(GantryText::from_str(name))
    }
}

/// The last of some texts: how the macro says "this one if it was written, else none".
#[doc(hidden)]
pub const fn last(texts: &[&'static str]) -> &'static str {
    texts[texts.len() - 1]
}

/// The descriptor of a service that `S` implements.
#[doc(hidden)]
pub const fn service<S: Service>(described: Described) -> GantryService {
    GantryService {
        struct_bytes: size_of::<GantryService>() as u32,
        number: described.number,
        kind: described.kind as u32,
        timeout_ms: described.timeout_ms,
        flags: if described.idempotent { GANTRY_FLAG_IDEMPOTENT } else { 0 },
        sources_count: described.sources.len() as u32,
        name: GantryText::from_str(described.name),
        description: GantryText::from_str(described.description),
        example: GantryText::from_str(described.example),
        example_reply: GantryText::from_str(described.example_reply),
        sources: described.sources.as_ptr().cast(),
        create: Some(border::create::<S>),
        call: Some(border::call::<S>),
        destroy: Some(border::destroy::<S>),
        settings: described.settings.as_ptr().cast(),
        settings_count: described.settings.len() as u32,
        reserved: 0,
    }
}

/// The descriptor of a library.
#[doc(hidden)]
pub const fn library(
    name: &'static str,
    version: &'static str,
    build: &'static str,
    services: &'static [GantryService],
    migrations: &'static [GantryMigration],
) -> GantryLibrary {
    GantryLibrary {
        struct_bytes: size_of::<GantryLibrary>() as u32,
        abi_major: GANTRY_ABI_MAJOR,
        abi_minor: GANTRY_ABI_MINOR,
        magic: GANTRY_MAGIC,
        name: GantryText::from_str(name),
        version: GantryText::from_str(version),
        build: GantryText::from_str(build),
        services_count: services.len() as u32,
        migrations_count: migrations.len() as u32,
        services: services.as_ptr(),
        migrations: migrations.as_ptr(),
    }
}
