//! The ceiling of everything that goes over a socket: a server with threads, raw frames, and nothing that is not needed.
//!
//! ```text
//!   connection:  one byte, the mode; then frames
//!   frame:       length (u32, little endian), that many bytes
//!   answer:      Ping, Pipelined: how many frames are synced (u64); Fetch: as many bytes as the frame's number says
//! ```

use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, Mutex};

use anyhow::{Context as _, Result, bail};
use millrace_env::OpenMode;
use millrace_env::real::env;
use millrace_record::crc32c;

use crate::child::Process;
use crate::sample::Done;
use crate::store::RawFile;

/// Room reserved for a file: more than a round fills.
const FILE_BYTES: u64 = 512 << 20;
const RECEIVE_BUFFER_BYTES: usize = 256 * 1024;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Append, sync, answer, one frame after the other on one thread.
    Ping,
    /// Append and answer, without a sync.
    Buffered,
    /// Append as frames come; a second thread syncs and answers, what came meanwhile rides on the next sync.
    Pipelined,
    /// Answer bytes of a file that lies in the page cache.
    Fetch,
    /// The same bytes, written from a map of the file.
    Map,
    /// The same bytes, sent by the kernel.
    Sendfile,
}

impl Mode {
    fn number(self) -> u8 {
        match self {
            Mode::Ping => 0,
            Mode::Pipelined => 1,
            Mode::Fetch => 2,
            Mode::Buffered => 3,
            Mode::Map => 4,
            Mode::Sendfile => 5,
        }
    }

    fn of(number: u8) -> Result<Mode> {
        let all = [Mode::Ping, Mode::Pipelined, Mode::Fetch, Mode::Buffered, Mode::Map, Mode::Sendfile];
        all.into_iter().find(|mode| mode.number() == number).with_context(|| format!("no mode {number}"))
    }
}

/// A running raw server.
#[derive(Debug)]
pub struct RawServer {
    /// The process.
    pub process: Process,
    addr: SocketAddr,
}

impl RawServer {
    /// Starts this binary again as a raw server; the binary hands `--raw-server DIR` to [`serve`].
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(folder: &Path) -> Result<RawServer> {
        let mut command = Command::new(std::env::current_exe()?);
        let (process, line) = Process::start(command.arg("--raw-server").arg(folder))?;
        Ok(RawServer { process, addr: line.trim().parse()? })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// The operating system's.
    pub fn connect(&self, mode: Mode) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_nodelay(true)?;
        stream.write_all(&[mode.number()])?;
        Ok(stream)
    }

    /// Has it store `frame` so many times, `in_flight` of them unanswered.
    ///
    /// # Errors
    /// The operating system's.
    pub fn store(&self, mode: Mode, frame: &[u8], count: usize, in_flight: usize) -> Result<Done> {
        let mut stream = self.connect(mode)?;
        let (mut sent, mut stored) = (0, 0);
        for _ in 0..count {
            while sent - stored >= in_flight as u64 {
                stored = receive_count(&mut stream)?;
            }
            send(&mut stream, frame)?;
            sent += 1;
        }
        while stored < sent {
            stored = receive_count(&mut stream)?;
        }
        Ok(Done { bytes: sent * frame.len() as u64, operations: sent, latencies: None })
    }

    /// Fetches `total` bytes, so many at a time.
    ///
    /// # Errors
    /// The operating system's.
    pub fn fetch(&self, mode: Mode, bytes: usize, total: usize) -> Result<Done> {
        let mut stream = self.connect(mode)?;
        let frame: [[u8; 4]; 2] = [4_u32.to_le_bytes(), u32::try_from(bytes)?.to_le_bytes()];
        let mut buffer = vec![0; bytes];
        let count = total / bytes;
        for _ in 0..count {
            stream.write_all(frame.as_flattened())?;
            stream.read_exact(&mut buffer)?;
        }
        Ok(Done { bytes: (count * bytes) as u64, operations: count as u64, latencies: None })
    }
}

/// Sends one frame with one call.
///
/// # Errors
/// The operating system's.
pub fn send(stream: &mut TcpStream, frame: &[u8]) -> Result<()> {
    let length = u32::try_from(frame.len())?.to_le_bytes();
    let buffers = [std::io::IoSlice::new(&length), std::io::IoSlice::new(frame)];
    let written = stream.write_vectored(&buffers)?;
    if written < length.len() {
        bail!("a socket that takes less than four bytes");
    }
    Ok(stream.write_all(frame.get(written - length.len()..).unwrap_or_default())?)
}

/// Reads how many frames are synced.
///
/// # Errors
/// The operating system's.
pub fn receive_count(stream: &mut TcpStream) -> Result<u64> {
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    Ok(u64::from_le_bytes(answer))
}

/// Serves until killed. Files are made in `folder` and removed when their connection ends.
///
/// # Errors
/// The operating system's.
pub fn serve(folder: &Path) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut output = std::io::stdout();
    writeln!(output, "{}", listener.local_addr()?)?;
    output.flush()?;
    for number in 0_u64.. {
        let (stream, _) = listener.accept()?;
        let path = folder.join(format!("raw-{}-{number}", std::process::id()));
        std::thread::spawn(move || {
            if let Err(error) = connection(stream, &path) {
                eprintln!("raw server: {error:#}");
            }
        });
    }
    Ok(())
}

fn connection(mut stream: TcpStream, path: &Path) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut mode = [0];
    stream.read_exact(&mut mode)?;
    let mode = Mode::of(mode[0])?;
    let mut file = RawFile::create(path, FILE_BYTES)?;
    let served = match mode {
        Mode::Ping => answer_each(stream, file, RawFile::sync),
        Mode::Buffered => answer_each(stream, file, |_| Ok(())),
        Mode::Pipelined => pipelined(stream, file),
        Mode::Fetch => fetch(stream, file, &mut sent_from_buffer()),
        Mode::Map => sent_from_map(path, &mut file).and_then(|mut send| fetch(stream, file, &mut send)),
        Mode::Sendfile => fetch(stream, file, &mut sent_by_kernel),
    };
    // Not before: what a log syncs has a name, and file systems may treat a file without one differently.
    std::fs::remove_file(path)?;
    served
}

fn receive<'a>(from: &mut impl std::io::Read, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        answer => answer?,
    }
    buffer.resize(usize::try_from(u32::from_le_bytes(length))?, 0);
    from.read_exact(buffer)?;
    Ok(Some(buffer))
}

fn answer_each(
    mut stream: TcpStream,
    mut file: RawFile,
    sync: impl Fn(&RawFile) -> Result<()>,
) -> Result<()> {
    let mut reader = BufReader::with_capacity(RECEIVE_BUFFER_BYTES, stream.try_clone()?);
    let mut buffer = Vec::new();
    let mut count = 0_u64;
    while let Some(frame) = receive(&mut reader, &mut buffer)? {
        std::hint::black_box(crc32c(frame));
        file.append(frame)?;
        sync(&file)?;
        count += 1;
        stream.write_all(&count.to_le_bytes())?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Progress {
    written: u64,
    ended: bool,
}

fn pipelined(stream: TcpStream, mut file: RawFile) -> Result<()> {
    let progress = (Mutex::new(Progress::default()), Condvar::new());
    let handle = file.handle()?;
    let mut reader = BufReader::with_capacity(RECEIVE_BUFFER_BYTES, stream.try_clone()?);
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| sync_and_answer(stream, &handle, &progress));
        let mut buffer = Vec::new();
        let mut receive_all = || -> Result<()> {
            while let Some(frame) = receive(&mut reader, &mut buffer)? {
                std::hint::black_box(crc32c(frame));
                file.append(frame)?;
                lock(&progress.0).written += 1;
                progress.1.notify_one();
            }
            Ok(())
        };
        let received = receive_all();
        lock(&progress.0).ended = true;
        progress.1.notify_one();
        match syncing.join() {
            Ok(synced) => received.and(synced),
            Err(_) => bail!("the syncing thread panicked"),
        }
    })
}

fn sync_and_answer(mut stream: TcpStream, file: &File, progress: &(Mutex<Progress>, Condvar)) -> Result<()> {
    let mut synced = 0;
    loop {
        let written = {
            let mut guard = lock(&progress.0);
            while guard.written == synced && !guard.ended {
                guard = progress.1.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            if guard.written == synced {
                return Ok(());
            }
            guard.written
        };
        file.sync_data()?;
        synced = written;
        stream.write_all(&synced.to_le_bytes())?;
    }
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The bytes of the file that fetches are answered from.
const FETCHED_FILE_BYTES: usize = 64 << 20;

/// Sends so many bytes of the file from a position on.
type Send<'a> = dyn FnMut(&mut TcpStream, &File, u64, usize) -> Result<()> + 'a;

fn fetch(mut stream: TcpStream, mut file: RawFile, send: &mut Send<'_>) -> Result<()> {
    fill(&mut file)?;
    let handle = file.handle()?;
    let mut request = Vec::new();
    let mut position = 0;
    while let Some(frame) = receive(&mut stream, &mut request)? {
        let wanted = usize::try_from(frame.try_into().map(u32::from_le_bytes)?)?;
        if position + wanted > FETCHED_FILE_BYTES {
            position = 0;
        }
        send(&mut stream, &handle, position as u64, wanted)?;
        position += wanted;
    }
    Ok(())
}

/// Fills the file, unless it is full.
fn fill(file: &mut RawFile) -> Result<()> {
    let filling = vec![7; 1 << 20];
    while file.size() < FETCHED_FILE_BYTES as u64 {
        file.append(&filling)?;
    }
    Ok(())
}

fn sent_from_buffer() -> impl FnMut(&mut TcpStream, &File, u64, usize) -> Result<()> {
    let mut answer = Vec::new();
    move |stream, file, position, wanted| {
        answer.resize(wanted, 0);
        std::os::unix::fs::FileExt::read_exact_at(file, &mut answer, position)?;
        Ok(stream.write_all(&answer)?)
    }
}

fn sent_from_map(
    path: &Path,
    file: &mut RawFile,
) -> Result<impl FnMut(&mut TcpStream, &File, u64, usize) -> Result<()> + use<>> {
    fill(file)?;
    let map = env().fs.open(path, OpenMode::Read)?.map(FETCHED_FILE_BYTES as u64)?;
    map.populate(0..FETCHED_FILE_BYTES)?;
    Ok(move |stream: &mut TcpStream, _: &File, position: u64, wanted: usize| {
        let start = usize::try_from(position)?;
        let bytes = map.bytes().get(start..start + wanted).context("behind the end")?;
        Ok(stream.write_all(bytes)?)
    })
}

fn sent_by_kernel(stream: &mut TcpStream, file: &File, position: u64, wanted: usize) -> Result<()> {
    let (mut position, mut left) = (position, wanted);
    while left > 0 {
        left -= rustix::fs::sendfile(&*stream, file, Some(&mut position), left)?;
    }
    Ok(())
}
