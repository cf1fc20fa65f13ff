//! Which disk a file is on: limits on block I/O are set for a disk, by its two numbers.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::read;

/// A disk's numbers, as cgroup files write them: `254:0`. For a partition, those of the whole disk: the kernel
/// refuses others.
///
/// # Errors
/// Why the file is on no disk of its own.
pub fn holding(path: &Path) -> Result<String, String> {
    let meta = std::fs::metadata(path).map_err(|cause| read::reason(path, &cause))?;
    let device = meta.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let own = Path::new("/sys/dev/block").join(format!("{major}:{minor}"));
    if !own.exists() {
        return Err(format!(
            "{} is on a file system that belongs to no single disk (device {major}:{minor})",
            path.display()
        ));
    }
    if !own.join("partition").exists() {
        return Ok(format!("{major}:{minor}"));
    }
    let whole = own.canonicalize().ok().and_then(|own| read::text(own.parent()?.join("dev")).ok());
    whole
        .map(|text| text.trim().to_owned())
        .ok_or_else(|| format!("the disk of {} is not shown", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_kernel_is_on_no_disk() {
        assert!(holding(Path::new("/proc/self/status")).unwrap_err().contains("no single disk"));
        assert!(holding(Path::new("/nonexistent")).unwrap_err().contains("ENOENT"));
    }
}
