//! Reading into memory that holds nothing yet: to fill it with zeros first costs as much as a third of the read.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::io::ReadWriteFlags;

/// Reads once, at most `bytes` into the room behind what the buffer holds, and tells how many.
pub(super) fn read(
    file: &File,
    (buffer, bytes): (&mut Vec<u8>, usize),
    position: u64,
    flags: ReadWriteFlags,
) -> io::Result<usize> {
    let position = i64::try_from(position).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    buffer.reserve(bytes);
    let held = buffer.len();
    let room = buffer.spare_capacity_mut();
    let room_bytes = room.len().min(bytes);
    let room = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room_bytes };
    let flags = flags.bits().cast_signed();
    loop {
        #[expect(unsafe_code, reason = "rustix reads with flags into memory that holds something only")]
        // SAFETY: `room` is memory of `buffer` behind what it holds, nobody else's, of at least `iov_len` bytes; the kernel
        // writes into it and reads nothing of it.
        let read = unsafe { libc::preadv2(file.as_raw_fd(), &raw const room, 1, position, flags) };
        if let Ok(read) = usize::try_from(read) {
            debug_assert!(read <= room_bytes, "the kernel reads no more than it is asked for");
            #[expect(unsafe_code, reason = "what the kernel has written is said to be there")]
            // SAFETY: so many bytes behind `held` were written just now, and they lie within the capacity.
            unsafe {
                buffer.set_len(held + read.min(room_bytes));
            }
            return Ok(read.min(room_bytes));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_read_stands_behind_what_was_there() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut buffer = b"ab".to_vec();
        let flags = ReadWriteFlags::empty();
        assert_eq!(read(&file, (&mut buffer, 4), 3, flags).unwrap(), 4);
        assert_eq!(buffer, b"ab3456");
        assert_eq!(read(&file, (&mut buffer, 100), 8, flags).unwrap(), 2);
        assert_eq!(buffer, b"ab345689");
        assert_eq!(read(&file, (&mut buffer, 100), 10, flags).unwrap(), 0);
        assert_eq!(read(&file, (&mut buffer, 0), 0, flags).unwrap(), 0);
        assert_eq!(buffer, b"ab345689");
        assert!(read(&file, (&mut buffer, 1), u64::MAX, flags).is_err());
    }
}
