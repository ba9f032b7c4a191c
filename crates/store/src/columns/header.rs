//! The header of a page, as Parquet writes it: Thrift's compact protocol.
//! <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>
//!
//! Parquet's own reader of headers is not public, and its reader of pages makes a zstd context for each column that is opened.

use parquet::basic::Encoding;

/// A page of values, or a dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes of the page without its header, as they lie in the file.
    pub(super) packed: usize,
    /// The same, decompressed.
    pub(super) bytes: usize,
    /// Rows, those without a value among them; of a dictionary its entries.
    pub(super) values: usize,
    pub(super) encoding: Encoding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Dictionary,
}

/// Types of the compact protocol.
const STOP: u8 = 0;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const STRUCT: u8 = 12;

/// `PageType`.
const DATA_PAGE: i64 = 0;
const DICTIONARY_PAGE: i64 = 2;

/// Fields of `PageHeader`.
const TYPE: i16 = 1;
const UNCOMPRESSED: i16 = 2;
const COMPRESSED: i16 = 3;
const DATA: i16 = 5;
const DICTIONARY: i16 = 7;

/// Fields of `DataPageHeader` and `DictionaryPageHeader`.
const VALUES: i16 = 1;
const ENCODING: i16 = 2;

impl Header {
    /// Takes a header from the front. `None` for bytes that are none, and for headers that segments do not have.
    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (mut kind, mut packed, mut size, mut about) = (None, None, None, None);
        fields(bytes, |bytes, field, kind_of_field| {
            match (field, kind_of_field) {
                (TYPE, I32) => kind = Some(number(bytes)?),
                (UNCOMPRESSED, I32) => size = Some(number(bytes)?),
                (COMPRESSED, I32) => packed = Some(number(bytes)?),
                (DATA | DICTIONARY, STRUCT) => {
                    let (mut values, mut encoding) = (None, None);
                    fields(bytes, |bytes, inner, kind_of_field| {
                        match (inner, kind_of_field) {
                            (VALUES, I32) => values = Some(number(bytes)?),
                            (ENCODING, I32) => encoding = Some(number(bytes)?),
                            (_, I32) => drop(number(bytes)?),
                            (_, TRUE | FALSE) => {}
                            _ => return None,
                        }
                        Some(())
                    })?;
                    about = Some((field, values?, encoding?));
                }
                (_, I32) => drop(number(bytes)?),
                _ => return None,
            }
            Some(())
        })?;
        let (field, values, encoding) = about?;
        let kind = match (kind?, field) {
            (DATA_PAGE, DATA) => Kind::Data,
            (DICTIONARY_PAGE, DICTIONARY) => Kind::Dictionary,
            _ => return None,
        };
        let size_of = |n: i64| usize::try_from(n).ok();
        Some(Self {
            kind,
            packed: size_of(packed?)?,
            bytes: size_of(size?)?,
            values: size_of(values)?,
            encoding: coding(encoding)?,
        })
    }
}

impl Header {
    /// Appends the header. Levels are in the encoding that Parquet has for them.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let number = |out: &mut Vec<u8>, field: u8, value: usize| {
            out.push(field << 4 | I32);
            // A number that is not negative, in zigzag.
            super::pack::varint(out, (value as u64) << 1);
        };
        let (kind, about) = match self.kind {
            Kind::Data => (DATA_PAGE, DATA),
            Kind::Dictionary => (DICTIONARY_PAGE, DICTIONARY),
        };
        number(out, 1, kind as usize);
        number(out, 1, self.bytes);
        number(out, 1, self.packed);
        out.push(((about - COMPRESSED) as u8) << 4 | STRUCT);
        number(out, 1, self.values);
        number(out, 1, number_of(self.encoding));
        match self.kind {
            Kind::Data => (0..2).for_each(|_| number(out, 1, RLE)),
            // It is not sorted.
            Kind::Dictionary => out.push(1 << 4 | FALSE),
        }
        out.extend([STOP, STOP]);
    }
}

/// The number of the encoding of levels.
const RLE: usize = 3;

/// The number of an encoding that segments have.
fn number_of(encoding: Encoding) -> usize {
    match encoding {
        Encoding::DELTA_BINARY_PACKED => 5,
        Encoding::DELTA_LENGTH_BYTE_ARRAY => 6,
        Encoding::RLE_DICTIONARY => 8,
        // PLAIN; the writer has no others.
        _ => 0,
    }
}

/// The encodings that segments have, by the numbers of the format.
fn coding(number: i64) -> Option<Encoding> {
    Some(match number {
        0 => Encoding::PLAIN,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        _ => return None,
    })
}

/// Calls `each` with the number and type of every field of a struct; it takes the field's value from the front.
fn fields(bytes: &mut &[u8], mut each: impl FnMut(&mut &[u8], i16, u8) -> Option<()>) -> Option<()> {
    let mut field = 0i16;
    loop {
        let (&head, tail) = bytes.split_first()?;
        *bytes = tail;
        let (delta, kind) = (head >> 4, head & 15);
        if kind == STOP {
            return Some(());
        }
        field = match delta {
            0 => i16::try_from(number(bytes)?).ok()?,
            delta => field.checked_add(delta.into())?,
        };
        each(bytes, field, kind)?;
    }
}

fn number(bytes: &mut &[u8]) -> Option<i64> {
    super::unpack::varint(bytes).map(super::unpack::zigzag)
}

#[cfg(test)]
mod tests {
    use parquet::column::page::{CompressedPage, Page, PageWriter};
    use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
    use proptest::prelude::*;

    use super::*;

    fn written(page: CompressedPage) -> Vec<u8> {
        let mut sink = TrackedWrite::new(Vec::new());
        SerializedPageWriter::new(&mut sink).write_page(page).expect("a page");
        sink.into_inner().expect("bytes")
    }

    #[test]
    fn headers_that_parquet_writes_are_read() {
        let page = Page::DataPage {
            buf: vec![7; 300].into(),
            num_values: 2048,
            encoding: Encoding::DELTA_LENGTH_BYTE_ARRAY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let bytes = written(CompressedPage::new(page, 70_000));
        let mut tail = &bytes[..];
        let header = Header::read(&mut tail);
        let (kind, encoding) = (Kind::Data, Encoding::DELTA_LENGTH_BYTE_ARRAY);
        assert_eq!(header, Some(Header { kind, packed: 300, bytes: 70_000, values: 2048, encoding }));
        assert_eq!(tail, [7; 300]);
        let page = Page::DictionaryPage { buf: vec![1; 5].into(), num_values: 3, encoding: Encoding::PLAIN, is_sorted: false };
        let bytes = written(CompressedPage::new(page, 5));
        let header = Header::read(&mut &bytes[..]);
        let (kind, encoding) = (Kind::Dictionary, Encoding::PLAIN);
        assert_eq!(header, Some(Header { kind, packed: 5, bytes: 5, values: 3, encoding }));
        assert!((0..bytes.len() - 5).all(|end| Header::read(&mut &bytes[..end]).is_none()), "a header that is cut is none");
    }

    #[test]
    fn headers_are_written_as_parquet_writes_them() {
        for encoding in
            [Encoding::PLAIN, Encoding::DELTA_BINARY_PACKED, Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::RLE_DICTIONARY]
        {
            for (packed, bytes, values) in [(0, 0, 0), (5, 63, 64), (300, 70_000, 2048), (1 << 20, 3 << 20, 1)] {
                let data = Page::DataPage {
                    buf: vec![7; packed].into(),
                    num_values: values as u32,
                    encoding,
                    def_level_encoding: Encoding::RLE,
                    rep_level_encoding: Encoding::RLE,
                    statistics: None,
                };
                let dictionary =
                    Page::DictionaryPage { buf: vec![7; packed].into(), num_values: values as u32, encoding, is_sorted: false };
                for (kind, page) in [(Kind::Data, data), (Kind::Dictionary, dictionary)] {
                    let theirs = written(CompressedPage::new(page, bytes));
                    let (mut ours, header) = (Vec::new(), Header { kind, packed, bytes, values, encoding });
                    header.write(&mut ours);
                    assert_eq!(ours, theirs[..theirs.len() - packed], "{header:?}");
                    assert_eq!(Header::read(&mut &ours[..]), Some(header));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn other_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Header::read(&mut &bytes[..]);
        }
    }
}
