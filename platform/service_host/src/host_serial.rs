//! The interface `gantry.serial/1`, on top of the lender.

use gantry_abi::bytes::GantryText;
use gantry_abi::host::GantryCall;
use gantry_abi::serial_table::{
    GANTRY_SERIAL_OK, GANTRY_SERIAL_UNAVAILABLE, GANTRY_SERIALS_MAX, GantrySerial,
};
use gantry_abi::{SerialError, SerialErrorKind};

use crate::running::{Running, with_running};

pub(crate) static SERIAL: GantrySerial =
    GantrySerial { struct_bytes: size_of::<GantrySerial>() as u32, reserved: 0, next, last_message };

unsafe extern "C" fn next(
    call: *mut GantryCall,
    kind: GantryText,
    count: u32,
    serials: *mut GantryText,
) -> u32 {
    with_running(call, GANTRY_SERIAL_UNAVAILABLE, |running| {
        // SAFETY: the contract says that the text is readable while this runs.
        let kind = unsafe { kind.read() };
        if let Err(error) = draw(running, kind, count, serials.is_null()) {
            running.serials.clear();
            running.serial_message = error.message;
            return error.kind.number();
        }
        running.serial_message.clear();
        for (index, serial) in running.serials.iter().enumerate() {
            // SAFETY: not null, and the contract says that `count` texts fit there.
            let place = unsafe { serials.add(index) };
            // SAFETY: as above.
            unsafe { place.write_unaligned(GantryText::from_str(serial)) };
        }
        GANTRY_SERIAL_OK
    })
}

unsafe extern "C" fn last_message(call: *mut GantryCall) -> GantryText {
    with_running(call, GantryText::EMPTY, |running| GantryText::from_str(&running.serial_message))
}

/// Draws exactly `count` serials into `running.serials`.
fn draw(running: &mut Running<'_>, kind: Option<&str>, count: u32, is_null: bool) -> Result<(), SerialError> {
    let refuse = |kind, message: String| Err(SerialError { kind, message });
    let Some(kind) = kind else {
        return refuse(SerialErrorKind::UnknownType, "the type's name is not UTF-8".to_owned());
    };
    if count == 0 || count > GANTRY_SERIALS_MAX || is_null {
        let message = format!("{count} serials asked for; 1 to {GANTRY_SERIALS_MAX} can be drawn at once");
        return refuse(SerialErrorKind::BadCount, message);
    }
    running.serials.clear();
    running.lender.serial_next(kind, count, &mut running.serials)?;
    if running.serials.len() != count as usize {
        let message = format!("{count} serials of `{kind}` were asked for, {} given", running.serials.len());
        running.fault = Some(message.clone());
        return refuse(SerialErrorKind::Unavailable, message);
    }
    Ok(())
}
