//! A real ext4 on a loop device, whose power can be cut. Wants root.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

/// A file system on a loop device over a sparse file; unmounted and removed when dropped.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mount_point: PathBuf,
    is_mounted: bool,
    /// Holds image and mount point.
    _folder: TempDir,
}

impl Disk {
    /// Makes an image of `bytes` in `folder` with `mkfs.ext4` and `options`, and mounts it.
    ///
    /// # Panics
    /// When the machine refuses.
    #[must_use]
    pub fn new(folder: &Path, bytes: u64, options: &[&str]) -> Disk {
        let home = tempfile::Builder::new().prefix("millrace-disk").tempdir_in(folder).expect("a folder");
        let image = home.path().join("image");
        File::create(&image).and_then(|file| file.set_len(bytes)).expect("an image");
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).args(options).arg(&image));
        let mount_point = home.path().join("mount");
        std::fs::create_dir(&mount_point).expect("a mount point");
        let mut disk = Disk { image, mount_point, is_mounted: false, _folder: home };
        disk.mount();
        disk
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Cuts the power: nothing reaches the medium from now on.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn cut(&self) {
        millrace_env::real::power::cut(&self.mount_point).expect("ext4 shuts down");
    }

    /// Makes it read-only as the kernel does when its journal fails, under whoever writes to it.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn abort(&self) {
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.mount_point));
    }

    /// Unmounts it, once nobody uses it any more.
    ///
    /// # Panics
    /// When somebody does.
    pub fn unmount(&mut self) {
        // A killed process has closed its files when it was waited for; the kernel's own references go a moment later.
        let mut attempts = 0;
        while !Command::new("umount").arg(&self.mount_point).status().expect("umount").success() {
            attempts += 1;
            assert!(attempts < 100, "{} stays busy", self.mount_point.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.is_mounted = false;
    }

    /// Mounts it: a new mount, as after a reboot.
    ///
    /// # Panics
    /// When the machine refuses.
    pub fn mount(&mut self) {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.mount_point));
        self.is_mounted = true;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // Lazily, in case somebody still holds a file: the loop device goes with the last user.
            let _status = Command::new("umount").arg("--lazy").arg(&self.mount_point).status();
        }
    }
}

/// A file system in memory of a given size; unmounted and removed when dropped.
#[derive(Debug)]
pub struct MemoryDisk {
    folder: TempDir,
}

impl MemoryDisk {
    /// Mounts a tmpfs that holds `bytes`.
    ///
    /// # Panics
    /// When the machine refuses.
    #[must_use]
    pub fn new(bytes: u64) -> MemoryDisk {
        let folder = tempfile::Builder::new().prefix("millrace-memory").tempdir().expect("a folder");
        let size = format!("size={bytes}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "millrace-exam"]).arg(folder.path()));
        MemoryDisk { folder }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives it another size.
    ///
    /// # Panics
    /// When the machine refuses.
    pub fn resize(&self, bytes: u64) {
        let options = format!("remount,size={bytes}");
        run(Command::new("mount").args(["-o", &options]).arg(self.folder.path()));
    }
}

impl Drop for MemoryDisk {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

/// A folder in memory where the machine has one, else the ordinary temporary one.
#[must_use]
pub fn quick_folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program is there");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {error}", output.status);
}
