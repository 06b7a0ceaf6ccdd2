//! The core table of the contract, and the finding of interfaces.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use gantry_abi::Level;
use gantry_abi::bytes::{GantryBytes, GantryText};
use gantry_abi::descriptor::{GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR};
use gantry_abi::host::{
    GANTRY_INTERFACE_CALL, GANTRY_INTERFACE_DOCUMENT, GANTRY_INTERFACE_LOG, GANTRY_INTERFACE_SERIAL,
    GANTRY_INTERFACE_SQL, GantryCall, GantryHost,
};
use gantry_abi::log_table::GantryLog;
use gantry_abi::status::{GANTRY_BUSINESS, GANTRY_FAILED, GANTRY_OK, GantryCode};

use crate::host_call::CALLS;
use crate::host_document::DOCUMENT;
use crate::host_serial::SERIAL;
use crate::host_sql::SQL;
use crate::limits::{CODE_BYTES_MAX, FIELD_BYTES_MAX, LOG_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::running::{ToldError, with_running};

/// The platform's core table.
pub(crate) static HOST: GantryHost = GantryHost {
    struct_bytes: size_of::<GantryHost>() as u32,
    abi_major: GANTRY_ABI_MAJOR,
    abi_minor: GANTRY_ABI_MINOR,
    platform: GantryText::from_str(concat!("gantry ", env!("CARGO_PKG_VERSION"))),
    get_interface,
    request,
    caller,
    request_id,
    number,
    time_left_ns,
    is_cancelled,
    reply_reserve,
    reply_commit,
    business_error,
    fail,
};

static LOG: GantryLog =
    GantryLog { struct_bytes: size_of::<GantryLog>() as u32, reserved: 0, is_enabled: is_log_enabled, write };

unsafe extern "C" fn get_interface(_host: *const GantryHost, id: GantryText) -> *const c_void {
    // SAFETY: the contract says that the id is readable while this runs.
    match unsafe { id.read() } {
        Some(GANTRY_INTERFACE_SQL) => (&raw const SQL).cast(),
        Some(GANTRY_INTERFACE_SERIAL) => (&raw const SERIAL).cast(),
        Some(GANTRY_INTERFACE_DOCUMENT) => (&raw const DOCUMENT).cast(),
        Some(GANTRY_INTERFACE_CALL) => (&raw const CALLS).cast(),
        Some(GANTRY_INTERFACE_LOG) => (&raw const LOG).cast(),
        _ => null(),
    }
}

unsafe extern "C" fn request(call: *mut GantryCall) -> GantryBytes {
    with_running(call, GantryBytes::EMPTY, |running| {
        let body = running.request.body;
        GantryBytes { data: body.as_ptr().cast(), bytes: body.len() }
    })
}

unsafe extern "C" fn caller(call: *mut GantryCall) -> GantryText {
    with_running(call, GantryText::EMPTY, |running| GantryText::from_str(running.request.caller.as_str()))
}

unsafe extern "C" fn request_id(call: *mut GantryCall) -> GantryText {
    with_running(call, GantryText::EMPTY, |running| GantryText::from_str(running.request.request_id.as_str()))
}

unsafe extern "C" fn number(call: *mut GantryCall) -> u32 {
    with_running(call, 0, |running| running.request.number.get())
}

unsafe extern "C" fn time_left_ns(call: *mut GantryCall) -> u64 {
    with_running(call, 0, |running| u64::try_from(running.lender.time_left().as_nanos()).unwrap_or(u64::MAX))
}

unsafe extern "C" fn is_cancelled(call: *mut GantryCall) -> u32 {
    // A call that is over counts as cancelled.
    with_running(call, 1, |running| running.lender.is_cancelled().into())
}

unsafe extern "C" fn reply_reserve(call: *mut GantryCall, bytes: usize, capacity: *mut usize) -> *mut u8 {
    with_running(call, null_mut(), |running| match running.lender.reply_reserve(bytes) {
        Ok(room) if room.len() >= bytes => {
            running.reply_room_bytes = room.len();
            running.reply_refusal = None;
            if !capacity.is_null() {
                // SAFETY: not null, and the contract says that a size fits there.
                unsafe { capacity.write_unaligned(room.len()) };
            }
            room.as_ptr().cast()
        }
        Ok(room) => {
            running.fault = Some(format!("{} bytes of reply were asked for, {} given", bytes, room.len()));
            null_mut()
        }
        Err(error) => {
            running.reply_refusal = Some(error.to_string());
            null_mut()
        }
    })
}

unsafe extern "C" fn reply_commit(call: *mut GantryCall, bytes: usize) -> GantryCode {
    with_running(call, GANTRY_FAILED, |running| {
        if bytes > running.reply_room_bytes {
            let room = running.reply_room_bytes;
            running.reply_refusal = Some(format!("a reply of {bytes} bytes where {room} were reserved"));
            return GANTRY_FAILED;
        }
        match running.lender.reply_commit(bytes) {
            Ok(()) => {
                running.reply_refusal = None;
                GANTRY_OK
            }
            Err(error) => {
                running.reply_refusal = Some(error.to_string());
                GANTRY_FAILED
            }
        }
    })
}

unsafe extern "C" fn business_error(
    call: *mut GantryCall,
    code: GantryText,
    field: GantryText,
    message: GantryText,
) -> GantryCode {
    with_running(call, GANTRY_FAILED, |running| {
        // SAFETY: the contract says that the text is readable while this runs.
        let code = unsafe { code.read() };
        // SAFETY: as above.
        let field = unsafe { field.read() };
        // SAFETY: as above.
        let message = unsafe { lossy(message, MESSAGE_BYTES_MAX) };
        let is_code = |code: &&str| {
            let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            !code.is_empty() && code.len() <= CODE_BYTES_MAX && code.bytes().all(is_allowed)
        };
        match (code.filter(is_code), field.filter(|field| field.len() <= FIELD_BYTES_MAX)) {
            (Some(code), Some(field)) => {
                let (code, field) = (code.to_owned(), field.to_owned());
                running.told = Some(ToldError { code, field, message });
                GANTRY_BUSINESS
            }
            _ => {
                running.failure = Some(format!(
                    "told a business error whose code is not 1 to {CODE_BYTES_MAX} bytes of `a-z 0-9 _`, or whose \
                     field is not UTF-8 of at most {FIELD_BYTES_MAX} bytes; its message: {message}"
                ));
                GANTRY_FAILED
            }
        }
    })
}

unsafe extern "C" fn fail(call: *mut GantryCall, message: GantryText) -> GantryCode {
    with_running(call, GANTRY_FAILED, |running| {
        // SAFETY: the contract says that the text is readable while this runs.
        running.failure = Some(unsafe { lossy(message, MESSAGE_BYTES_MAX) });
        GANTRY_FAILED
    })
}

unsafe extern "C" fn is_log_enabled(call: *mut GantryCall, level: u32) -> u32 {
    with_running(call, 0, |running| running.lender.is_log_enabled(Level::from_number(level)).into())
}

unsafe extern "C" fn write(call: *mut GantryCall, level: u32, text: GantryText) {
    with_running(call, (), |running| {
        // SAFETY: the contract says that the text is readable while this runs.
        let text = unsafe { lossy(text, LOG_BYTES_MAX) };
        running.lender.log(Level::from_number(level), &text);
    });
}

/// Text for people, at most `bytes_max` long; what is not UTF-8 is shown as replacement characters.
///
/// # Safety
/// As [`GantryBytes::read`].
unsafe fn lossy(text: GantryText, bytes_max: usize) -> String {
    let bytes = GantryBytes { data: text.data.cast(), bytes: text.bytes.min(bytes_max) };
    // SAFETY: passed on from the caller; a shorter part of what is readable.
    let bytes = unsafe { bytes.read() }.unwrap_or_default();
    // A character that the cut splits is left out; other wrong bytes are shown.
    let whole = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    };
    String::from_utf8_lossy(whole).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_for_people_is_cut_between_characters() {
        let text = GantryText::from_str("收费站");
        // SAFETY: the text is a literal.
        let cut = unsafe { lossy(text, 5) };
        assert_eq!(cut, "收");
        let broken = GantryText { data: b"a\xffb".as_ptr().cast(), bytes: 3 };
        // SAFETY: the bytes are a literal.
        let shown = unsafe { lossy(broken, 100) };
        assert_eq!(shown, "a\u{fffd}b");
        // SAFETY: a null text has nothing to read.
        let nothing = unsafe { lossy(GantryText { data: null(), bytes: 9 }, 100) };
        assert_eq!(nothing, "");
    }
}
