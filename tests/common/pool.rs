//! A btrfs on a loop device, for one test.

use std::path::{Path, PathBuf};
use std::process::Command;

use lucid::config::Volume as Settings;
use lucid::paths::Paths;
use lucid::units::{GIB, MIB};
use lucid::volume::{Kind, Manager, Name};

/// A file with a btrfs, mounted as the data directory of an appliance.
pub struct Pool {
    dir: tempfile::TempDir,
    at: PathBuf,
}

pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

impl Pool {
    /// In a directory of its own.
    pub fn new() -> Self {
        Self::of_bytes(2 * GIB)
    }

    /// As [`Pool::new`], of another size.
    pub fn of_bytes(bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("data");
        Self::mounted_at(dir, at, bytes)
    }

    /// At `at`, which is made.
    pub fn at(at: &Path, bytes: u64) -> Self {
        Self::mounted_at(tempfile::tempdir().unwrap(), at.to_path_buf(), bytes)
    }

    fn mounted_at(dir: tempfile::TempDir, at: PathBuf, bytes: u64) -> Self {
        let file = dir.path().join("disk");
        std::fs::File::create(&file)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        run("mkfs.btrfs", &["-q", file.to_str().unwrap()]);
        std::fs::create_dir(&at).unwrap();
        let pool = Self { dir, at };
        pool.mount();
        pool
    }

    pub fn mount(&self) {
        let file = self.dir.path().join("disk");
        let options = ["-o", "loop,noatime", file.to_str().unwrap()];
        let data = self.data();
        run("mount", &[&options[..], &[data.to_str().unwrap()]].concat());
    }

    pub fn unmount(&self) {
        let _ = Command::new("umount").arg(self.data()).output();
    }

    /// Turns bits of the disk where it holds `pattern`, as a dying medium does. The pool is
    /// unmounted meanwhile.
    pub fn damage(&self, pattern: &[u8]) {
        use std::os::unix::fs::FileExt;
        self.unmount();
        let disk = self.dir.path().join("disk");
        let bytes = std::fs::read(&disk).unwrap();
        let at = bytes
            .windows(pattern.len())
            .position(|window| window == pattern)
            .expect("the pattern is on the disk");
        let file = std::fs::OpenOptions::new().write(true).open(&disk).unwrap();
        file.write_all_at(&vec![0xff; pattern.len()], at as u64)
            .unwrap();
        file.sync_all().unwrap();
        self.mount();
    }

    pub fn data(&self) -> PathBuf {
        self.at.clone()
    }

    pub fn paths(&self) -> Paths {
        Paths::new(self.at.parent().unwrap())
    }

    pub fn sync(&self) {
        run(
            "btrfs",
            &["filesystem", "sync", self.data().to_str().unwrap()],
        );
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Pools beside it that a failed test left.
        let others = self.at.with_file_name("run/lucid-pools");
        for entry in std::fs::read_dir(others).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                let _ = Command::new("umount").arg("-l").arg(entry.path()).output();
                let _ = Command::new("chattr").arg("-i").arg(entry.path()).output();
            }
        }
        self.unmount();
    }
}

/// A loop device over a sparse file, for one test.
pub struct Device {
    _dir: tempfile::TempDir,
    pub file: PathBuf,
    pub node: String,
}

impl Device {
    pub fn new(bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("device");
        std::fs::File::create(&file)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        let node = run("losetup", &["--find", "--show", file.to_str().unwrap()]);
        Self {
            _dir: dir,
            file,
            node: node.trim().to_owned(),
        }
    }

    /// As if the disk were pulled.
    pub fn detach(&self) {
        let _ = Command::new("losetup").args(["-d", &self.node]).output();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.detach();
    }
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn fill(path: &Path, bytes: u64) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create(path)?;
    let block: Vec<u8> = (0..1 << 20).map(|i: u32| (i * 7 % 251) as u8).collect();
    for _ in 0..bytes / MIB {
        file.write_all(&block)?;
    }
    file.sync_all()
}

pub fn open(pool: &Pool) -> Manager {
    Manager::open(&pool.paths(), &Settings::default()).unwrap()
}

/// `lucid volume pool ...` for the appliance of `data`: exit code and what it says.
pub fn pool_command(data: &Pool, args: &[&str]) -> (Option<i32>, String) {
    let paths = data.paths();
    let output = Command::new(env!("CARGO_BIN_EXE_lucid"))
        .args(["--root", paths.root().to_str().unwrap(), "volume", "pool"])
        .args(args)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

pub fn done(data: &Pool, args: &[&str]) -> String {
    let (code, text) = pool_command(data, args);
    assert_eq!(code, Some(0), "{args:?}: {text}");
    text
}

pub fn refused(data: &Pool, args: &[&str]) -> String {
    let (code, text) = pool_command(data, args);
    assert_eq!(code, Some(4), "{args:?}: {text}");
    text
}

pub fn two_pools() -> (Pool, Device, Manager) {
    let data = Pool::new();
    let device = Device::new(2 * GIB);
    done(&data, &["create", "ssd", "--on", &device.node]);
    let manager = open(&data);
    (data, device, manager)
}

pub fn filled(manager: &Manager) -> PathBuf {
    let info = manager
        .create(&name("blocks"), Kind::Blocks, Some(400 * MIB), None)
        .unwrap();
    for (file, bytes) in [("a", 20), ("b", 40)] {
        fill(&info.path.join(file), bytes * MIB).unwrap();
    }
    std::fs::create_dir(info.path.join("dir")).unwrap();
    std::os::unix::fs::symlink("../a", info.path.join("dir/link")).unwrap();
    info.path
}
