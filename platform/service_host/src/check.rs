//! From a library's raw descriptor to checked data. Nothing of it is believed before it is checked, except
//! that its pointers point to what they should: that cannot be checked, and is why a library is loaded in a
//! probe process first.

use std::collections::HashSet;
use std::mem::{MaybeUninit, offset_of};
use std::path::Path;

use gantry_abi::bytes::GantryText;
use gantry_abi::descriptor::{
    GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR, GANTRY_FLAG_IDEMPOTENT, GANTRY_MAGIC, GANTRY_MIGRATIONS_MAX,
    GANTRY_SERVICES_MAX, GANTRY_SETTINGS_MAX, GANTRY_SOURCES_MAX, GantryLibrary, GantryMigration,
    GantryService,
};
use gantry_message::{Kind, ServiceNumber};

use crate::description::{Description, MigrationDescription, ServiceDescription};
use crate::error::LoadError;
use crate::limits::{
    BUILD_BYTES_MAX, DESCRIPTION_BYTES_MAX, EXAMPLE_BYTES_MAX, MIGRATION_BYTES_MAX, NAME_BYTES_MAX,
    STRUCT_BYTES_MAX, TIMEOUT_MS_MAX, VERSION_BYTES_MAX,
};
use crate::loader::Functions;

/// Sizes with which ABI 1.0 was published: no 1.x descriptor may be smaller.
const LIBRARY_BYTES_MIN: u32 = 88;
const SERVICE_BYTES_MIN: u32 = 120;
const MIGRATION_BYTES_MIN: u32 = 56;
const _: () = assert!(
    size_of::<GantryLibrary>() as u32 >= LIBRARY_BYTES_MIN
        && size_of::<GantryService>() as u32 >= SERVICE_BYTES_MIN
        && size_of::<GantryMigration>() as u32 >= MIGRATION_BYTES_MIN
);

/// Whose descriptor is being read, for messages.
struct Reader<'a> {
    path: &'a Path,
}

/// Reads the descriptor at `library`. `file_build` stands in where the library names no build.
///
/// # Safety
/// `library` is what the entry of a loaded library returned, by the contract: null or a descriptor that,
/// with all it points to, is constant until the process ends.
pub(crate) unsafe fn read_descriptor(
    path: &Path,
    library: *const GantryLibrary,
    file_build: &str,
) -> Result<(Description, Vec<Functions>), LoadError> {
    let reader = Reader { path };
    // SAFETY: passed on from the caller.
    let raw = unsafe { reader.library(library) }?;
    let item = "library";
    let name = reader.name(item, raw.name)?;
    let version = reader.text(item, "version", raw.version, VERSION_BYTES_MAX)?;
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
        return Err(reader.refuse(item, format!("version `{version}` must be printable ASCII without `/`")));
    }
    let build = reader.text(item, "build", raw.build, BUILD_BYTES_MAX)?;
    reader.count("services", raw.services_count, 1, GANTRY_SERVICES_MAX)?;
    reader.count("migrations", raw.migrations_count, 0, GANTRY_MIGRATIONS_MAX)?;
    // SAFETY: the contract says that so many services lie there.
    let raw_services =
        unsafe { reader.array("services", raw.services, raw.services_count, SERVICE_BYTES_MIN) }?;
    // SAFETY: the contract says that so many migrations lie there.
    let raw_migrations =
        unsafe { reader.array("migrations", raw.migrations, raw.migrations_count, MIGRATION_BYTES_MIN) }?;
    let mut services = Vec::with_capacity(raw_services.len());
    let mut functions = Vec::with_capacity(raw_services.len());
    for raw in &raw_services {
        let (service, callable) = reader.service(raw)?;
        services.push(service);
        functions.push(callable);
    }
    let migrations = raw_migrations.iter().map(|raw| reader.migration(raw)).collect::<Result<_, _>>()?;
    let description = Description {
        name,
        version,
        build: if build.is_empty() { file_build.to_owned() } else { build },
        abi: format!("{}.{}", raw.abi_major, raw.abi_minor),
        services,
        migrations,
    };
    reader.refuse_repeats(&description)?;
    Ok((description, functions))
}

impl Reader<'_> {
    fn refuse(&self, item: impl Into<String>, problem: impl Into<String>) -> LoadError {
        LoadError::Descriptor { path: self.path.to_owned(), item: item.into(), problem: problem.into() }
    }

    /// The descriptor itself, after its magic, version and size were looked at.
    ///
    /// # Safety
    /// As [`read_descriptor`].
    unsafe fn library(&self, library: *const GantryLibrary) -> Result<GantryLibrary, LoadError> {
        let broken = |problem: &str| LoadError::NoDescriptor {
            path: self.path.to_owned(),
            problem: problem.to_owned(),
        };
        if library.is_null() || !library.is_aligned() {
            return Err(broken("it is null or not aligned"));
        }
        // The part up to the magic is the same in every version of the contract.
        let head_bytes = (offset_of!(GantryLibrary, magic) + size_of::<u64>()) as u32;
        // SAFETY: a descriptor begins with this part in every version.
        let head: GantryLibrary = unsafe { copy_sized(library, head_bytes) };
        if head.magic != GANTRY_MAGIC {
            return Err(broken("its magic number is missing"));
        }
        if head.abi_major != GANTRY_ABI_MAJOR || head.abi_minor > GANTRY_ABI_MINOR {
            let (major, minor) = (head.abi_major, head.abi_minor);
            return Err(LoadError::AbiVersion { path: self.path.to_owned(), major, minor });
        }
        self.size("library", head.struct_bytes, LIBRARY_BYTES_MIN)?;
        // SAFETY: the library says that its descriptor has so many bytes.
        Ok(unsafe { copy_sized(library, head.struct_bytes) })
    }

    fn size(&self, item: &str, found: u32, least: u32) -> Result<(), LoadError> {
        if found < least || found > STRUCT_BYTES_MAX || !found.is_multiple_of(8) {
            let problem = format!(
                "struct_bytes is {found}, and must be a multiple of 8 from {least} to {STRUCT_BYTES_MAX}"
            );
            return Err(self.refuse(item, problem));
        }
        Ok(())
    }

    fn count(&self, what: &str, found: u32, least: u32, most: u32) -> Result<(), LoadError> {
        if (least..=most).contains(&found) {
            return Ok(());
        }
        Err(self.refuse("library", format!("has {found} {what}; {least} to {most} are allowed")))
    }

    /// Copies of the elements of an array, which are as far apart as the first one says.
    ///
    /// # Safety
    /// `first` points to `count` elements, or `count` is 0.
    unsafe fn array<T>(
        &self,
        what: &str,
        first: *const T,
        count: u32,
        least: u32,
    ) -> Result<Vec<T>, LoadError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if first.is_null() || !first.is_aligned() {
            return Err(self.refuse(what, "the pointer is null or not aligned"));
        }
        // SAFETY: every element begins with its size, a `u32`.
        let stride = unsafe { first.cast::<u32>().read() };
        self.size(what, stride, least)?;
        let mut elements = Vec::with_capacity(count as usize);
        for index in 0..count as usize {
            // SAFETY: `count` elements lie there, `stride` bytes apart.
            let element = unsafe { first.byte_add(index * stride as usize) };
            // SAFETY: every element begins with its size, a `u32`.
            let found = unsafe { element.cast::<u32>().read() };
            if found != stride {
                let problem = format!("struct_bytes of element {index} is {found}, of the first {stride}");
                return Err(self.refuse(what, problem));
            }
            // SAFETY: an element of `stride` bytes lies there.
            elements.push(unsafe { copy_sized(element, stride) });
        }
        Ok(elements)
    }

    fn service(&self, raw: &GantryService) -> Result<(ServiceDescription, Functions), LoadError> {
        let item = format!("service {:08}", raw.number);
        let number = ServiceNumber::new(raw.number)
            .ok()
            .filter(|number| !number.is_platform())
            .ok_or_else(|| self.refuse(&item, "the number must be 10000000 to 99999999"))?;
        let kind = u8::try_from(raw.kind)
            .ok()
            .and_then(Kind::from_code)
            .ok_or_else(|| self.refuse(&item, format!("kind {} is not 1, 2 or 3", raw.kind)))?;
        if raw.timeout_ms > TIMEOUT_MS_MAX {
            return Err(self.refuse(&item, format!("timeout_ms {} is over {TIMEOUT_MS_MAX}", raw.timeout_ms)));
        }
        if raw.settings_count > GANTRY_SETTINGS_MAX {
            let problem = format!("names {} settings, {GANTRY_SETTINGS_MAX} at most", raw.settings_count);
            return Err(self.refuse(&item, problem));
        }
        if raw.sources_count > GANTRY_SOURCES_MAX {
            let problem = format!("names {} data sources, {GANTRY_SOURCES_MAX} at most", raw.sources_count);
            return Err(self.refuse(&item, problem));
        }
        let (Some(create), Some(call), Some(destroy)) = (raw.create, raw.call, raw.destroy) else {
            return Err(self.refuse(&item, "create, call or destroy is null"));
        };
        let description = self.text(&item, "description", raw.description, DESCRIPTION_BYTES_MAX)?;
        if description.chars().any(char::is_control) {
            return Err(self.refuse(&item, "the description must be one line"));
        }
        let service = ServiceDescription {
            number,
            name: self.name(&item, raw.name)?,
            kind,
            timeout_ms: raw.timeout_ms,
            idempotent: raw.flags & GANTRY_FLAG_IDEMPOTENT != 0,
            description,
            example: self.text(&item, "example", raw.example, EXAMPLE_BYTES_MAX)?,
            example_reply: self.text(&item, "example_reply", raw.example_reply, EXAMPLE_BYTES_MAX)?,
            sources: self.sources(&item, raw)?,
            settings: self.settings(&item, raw)?,
        };
        Ok((service, Functions { create, call, destroy }))
    }

    fn sources(&self, item: &str, raw: &GantryService) -> Result<Vec<String>, LoadError> {
        if raw.sources_count == 0 {
            return Ok(Vec::new());
        }
        if raw.sources.is_null() || !raw.sources.is_aligned() {
            return Err(self.refuse(item, "`sources` is null or not aligned"));
        }
        // SAFETY: the contract says that so many names lie there, constant until the process ends.
        let names = unsafe { std::slice::from_raw_parts(raw.sources, raw.sources_count as usize) };
        names.iter().map(|name| self.source(item, *name)).collect()
    }

    fn settings(&self, item: &str, raw: &GantryService) -> Result<Vec<String>, LoadError> {
        if raw.settings_count == 0 {
            return Ok(Vec::new());
        }
        if raw.settings.is_null() || !raw.settings.is_aligned() {
            return Err(self.refuse(item, "`settings` is null or not aligned"));
        }
        // SAFETY: the contract says that so many names lie there, constant until the process ends.
        let names = unsafe { std::slice::from_raw_parts(raw.settings, raw.settings_count as usize) };
        let setting = |name: &GantryText| {
            let name = self.text(item, "name", *name, NAME_BYTES_MAX)?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(
                    self.refuse(item, format!("setting `{name}` must be of visible ASCII characters"))
                );
            }
            Ok(name)
        };
        names.iter().map(setting).collect()
    }

    /// A source's name; with a `?` at its end the service can do without it.
    fn source(&self, item: &str, raw: GantryText) -> Result<String, LoadError> {
        let text = self.text(item, "name", raw, NAME_BYTES_MAX)?;
        match text.strip_suffix('?') {
            Some(bare) => Ok(format!("{}?", self.name(item, GantryText::from_str(bare))?)),
            None => self.name(item, raw),
        }
    }

    fn migration(&self, raw: &GantryMigration) -> Result<MigrationDescription, LoadError> {
        let item = format!("migration {}", raw.version);
        if raw.version == 0 {
            return Err(self.refuse(item, "versions begin at 1"));
        }
        let sql = self.text(&item, "sql", raw.sql, MIGRATION_BYTES_MAX)?;
        if sql.trim().is_empty() {
            return Err(self.refuse(item, "has no SQL"));
        }
        let source = self.name(&item, raw.source)?;
        Ok(MigrationDescription { source, schema: self.name(&item, raw.schema)?, version: raw.version, sql })
    }

    /// A text of the descriptor, at most `bytes_max` long.
    fn text(&self, item: &str, what: &str, raw: GantryText, bytes_max: usize) -> Result<String, LoadError> {
        if raw.bytes > bytes_max {
            let problem = format!("`{what}` has {} bytes, {bytes_max} at most", raw.bytes);
            return Err(self.refuse(item, problem));
        }
        // SAFETY: the contract says that the text is there, constant until the process ends.
        let text = unsafe { raw.read() };
        text.map(str::to_owned).ok_or_else(|| self.refuse(item, format!("`{what}` is null or not UTF-8")))
    }

    /// A name of the descriptor: it becomes part of file names, of keys in a configuration and of log lines.
    fn name(&self, item: &str, raw: GantryText) -> Result<String, LoadError> {
        let name = self.text(item, "name", raw, NAME_BYTES_MAX)?;
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let starts_well =
            name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if starts_well && name.bytes().all(is_allowed) {
            return Ok(name);
        }
        Err(self.refuse(
            item,
            format!("name `{name}` must be of `a-z 0-9 . _ -` and begin with a letter or digit"),
        ))
    }

    fn refuse_repeats(&self, description: &Description) -> Result<(), LoadError> {
        let mut numbers = HashSet::new();
        for service in &description.services {
            if !numbers.insert(service.number) {
                return Err(self.refuse(format!("service {}", service.number), "is there twice"));
            }
        }
        let mut steps = HashSet::new();
        for step in &description.migrations {
            if !steps.insert((&step.source, &step.schema, step.version)) {
                let item = format!("migration {} of `{}`", step.version, step.schema);
                return Err(self.refuse(item, "is there twice"));
            }
        }
        Ok(())
    }
}

/// A copy of the struct at `from`, of which `bytes` are there. What lies beyond is zero, the value that
/// every field added later must allow; what is beyond our own struct is not looked at.
///
/// # Safety
/// `bytes` bytes at `from` are readable, and a `T` of any bytes found there, or zeros, is valid.
unsafe fn copy_sized<T>(from: *const T, bytes: u32) -> T {
    let mut copy = MaybeUninit::<T>::zeroed();
    let bytes = (bytes as usize).min(size_of::<T>());
    let target = copy.as_mut_ptr().cast::<u8>();
    // SAFETY: at most the size of both sides, which are different objects.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), target, bytes) };
    // SAFETY: zeros and bytes of the source make a valid `T`, as the caller promises.
    unsafe { copy.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_abi::host::{GantryCall, GantryHost};
    use gantry_abi::status::GantryCode;
    use std::ffi::c_void;

    unsafe extern "C-unwind" fn create(
        _: *const GantryHost,
        _: *mut GantryCall,
        _: GantryText,
        _: *mut *mut c_void,
    ) -> GantryCode {
        0
    }
    unsafe extern "C-unwind" fn call(_: *mut c_void, _: *mut GantryCall) -> GantryCode {
        0
    }
    unsafe extern "C-unwind" fn destroy(_: *mut c_void, _: *mut GantryCall) {}

    /// A struct with two fields that a later header would have at its end.
    #[repr(C)]
    struct Later<T> {
        known: T,
        added: [u64; 2],
    }

    fn service(number: u32, struct_bytes: usize) -> GantryService {
        GantryService {
            struct_bytes: struct_bytes as u32,
            number,
            kind: 1,
            timeout_ms: 0,
            flags: 0xffff_fffe,
            sources_count: 0,
            name: GantryText::from_str("later"),
            description: GantryText::EMPTY,
            example: GantryText::EMPTY,
            example_reply: GantryText::EMPTY,
            sources: std::ptr::null(),
            create: Some(create),
            call: Some(call),
            destroy: Some(destroy),
            settings: std::ptr::null(),
            settings_count: 0,
            reserved: 0,
        }
    }

    /// Goal: the structs may grow at their ends. Method: a descriptor whose structs are all larger than ours,
    /// so that the elements of its arrays are further apart, and with flags that nobody knows yet.
    #[test]
    fn descriptor_with_fields_of_a_later_header_is_read() {
        let added = [u64::MAX; 2];
        let services = [19_000_001, 19_000_002, 19_000_003]
            .map(|number| Later { known: service(number, size_of::<Later<GantryService>>()), added });
        let migrations = [1, 2].map(|version| Later {
            known: GantryMigration {
                struct_bytes: size_of::<Later<GantryMigration>>() as u32,
                ..gantry_abi::migration("main", "later", version, "CREATE TABLE later (n BIGINT)")
            },
            added,
        });
        let library = Later {
            known: GantryLibrary {
                struct_bytes: size_of::<Later<GantryLibrary>>() as u32,
                abi_major: GANTRY_ABI_MAJOR,
                abi_minor: 0,
                magic: GANTRY_MAGIC,
                name: GantryText::from_str("later"),
                version: GantryText::from_str("9"),
                build: GantryText::EMPTY,
                services_count: 3,
                migrations_count: 2,
                services: services.as_ptr().cast(),
                migrations: migrations.as_ptr().cast(),
            },
            added,
        };
        // SAFETY: the descriptor and all it points to lives until the end of this test.
        let read = unsafe { read_descriptor(Path::new("later.so"), &library.known, "b1") };
        let (description, functions) = read.unwrap();
        let numbers: Vec<u32> = description.services.iter().map(|service| service.number.get()).collect();
        assert_eq!(numbers, [19_000_001, 19_000_002, 19_000_003]);
        assert_eq!(description.migrations[1].version, 2);
        assert_eq!((description.build.as_str(), functions.len()), ("b1", 3));
        assert!(!description.services[0].idempotent);
    }

    #[test]
    fn elements_of_different_sizes_are_refused() {
        let services = [
            service(19_000_001, size_of::<GantryService>()),
            service(19_000_002, size_of::<GantryService>() + 8),
        ];
        let reader = Reader { path: Path::new("mixed.so") };
        // SAFETY: two services lie there.
        let read = unsafe { reader.array("services", services.as_ptr(), 2, SERVICE_BYTES_MIN) };
        let text = read.unwrap_err().to_string();
        assert!(text.contains("element 1 is 144, of the first 136"), "{text}");
    }

    /// A library of 1.0 or 1.1: what its structs lack reads as 0, whatever lies behind them.
    #[test]
    fn service_of_an_earlier_header_needs_no_settings() {
        let mut early = service(19_000_001, SERVICE_BYTES_MIN as usize);
        (early.settings, early.settings_count) = (std::ptr::dangling(), 7);
        let reader = Reader { path: Path::new("early.so") };
        // SAFETY: one service lies there.
        let read = unsafe { reader.array("services", &raw const early, 1, SERVICE_BYTES_MIN) };
        let (description, _) = reader.service(&read.unwrap()[0]).unwrap();
        assert_eq!(description.settings, [""; 0]);
    }
}
