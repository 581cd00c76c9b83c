//! Sources of packets as given in Python: paths, bytes, and objects with a method `read`.

use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use skylib::capture::{BpfFilter, CaptureError, CaptureFileSet, PacketSource, PcapFile};
use skylib::packet::LinkType;

use crate::error::from_capture;
use crate::signals::call_python;

/// Input of a reader.
pub(crate) enum Input {
    Paths(Vec<PathBuf>),
    Bytes(PyBackedBytes),
    File(PythonFile),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Input {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.extract() {
            return Ok(Self::Bytes(bytes));
        }
        if let Ok(path) = object.extract() {
            return Ok(Self::Paths(vec![path]));
        }
        if object.hasattr("read")? {
            return Ok(Self::File(PythonFile(object.to_owned().unbind())));
        }
        object.extract().map(Self::Paths).map_err(|_| {
            PyTypeError::new_err(
                "expected a path, a sequence of paths, bytes, or a file that is open for reading bytes",
            )
        })
    }
}

/// Settings of a source of packets.
pub(crate) struct SourceSettings {
    pub(crate) merge: bool,
    pub(crate) link_type: Option<LinkType>,
    pub(crate) interface: Option<String>,
    pub(crate) filter: Option<BpfFilter>,
}

impl Input {
    /// Opens the source.
    pub(crate) fn open(self, settings: SourceSettings) -> PyResult<Box<dyn PacketSource>> {
        let source = match self {
            Self::Paths(paths) => match &paths[..] {
                [path] if is_pipe(path) => {
                    let file = PythonFile::open(path)?;
                    settings.open_reader(&path.to_string_lossy(), file)
                }
                _ => settings.open_files(paths),
            },
            Self::Bytes(bytes) => settings.open_reader("bytes", Cursor::new(bytes)),
            Self::File(file) => settings.open_reader("file object", file),
        };
        source.map_err(from_capture)
    }
}

impl SourceSettings {
    fn open_files(self, paths: Vec<PathBuf>) -> Result<Box<dyn PacketSource>, CaptureError> {
        let mut files = CaptureFileSet::new(paths).with_merge(self.merge);
        if let Some(link_type) = self.link_type {
            files = files.with_link_type(link_type);
        }
        if let Some(interface) = self.interface {
            files = files.with_interface(interface);
        }
        if let Some(filter) = self.filter {
            files = files.with_filter(filter);
        }
        Ok(Box::new(files.open()?))
    }

    fn open_reader(
        self,
        name: &str,
        reader: impl Read + Send + 'static,
    ) -> Result<Box<dyn PacketSource>, CaptureError> {
        let mut file = PcapFile::from_reader(name, reader)?;
        if let Some(link_type) = self.link_type {
            file = file.with_link_type(link_type);
        }
        if let Some(interface) = self.interface {
            file = file.with_interface(interface);
        }
        if let Some(filter) = &self.filter {
            file = file.with_filter(filter)?;
        }
        Ok(Box::new(file))
    }
}

/// Returns whether a path is a pipe or a device, which may have no data for a long time.
fn is_pipe(path: &Path) -> bool {
    let kind = std::fs::metadata(path).map(|entry| entry.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_char_device())
}

/// Python object with a method `read`, as a reader.
pub(crate) struct PythonFile(Py<PyAny>);

impl PythonFile {
    /// Opens a pipe with Python, whose calls end at a signal such as Ctrl-C.
    fn open(path: &Path) -> PyResult<Self> {
        Python::attach(|py| {
            let open = py.import("io")?.getattr("open")?;
            let file = call_python(|| open.call1((path, "rb", 0)))?;
            Ok(Self(file.unbind()))
        })
    }
}

impl Read for PythonFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Python::attach(|py| {
            let data = call_python(|| self.0.call_method1(py, "read", (buffer.len(),)))?;
            let data: PyBackedBytes = data.extract(py)?;
            let Some(target) = buffer.get_mut(..data.len()) else {
                let text = "read() returned more bytes than were requested";
                return Err(PyValueError::new_err(text));
            };
            target.copy_from_slice(&data);
            Ok(data.len())
        })
        .map_err(io::Error::other)
    }
}
