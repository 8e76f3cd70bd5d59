//! Finding documents: filters, pages by offset and by cursor, streams.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use godb_engine::{Filter, Find, Io, PageStart, StorageEngine, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let engine = StorageEngine::builder(directory.path().join("data")).open()?;
    for n in 0..25 {
        let (zip, city) = (n % 5, if n % 2 == 0 { "Bern" } else { "Basel" });
        let document =
            format!(r#"{{"_id":"{n:02}","zip":"00{zip}","address":{{"city":"{city}"}}}}"#);
        engine
            .insert("people", document.as_bytes(), &Write::default())?
            .wait()?;
    }

    // Names may be paths; a literal finds the string and the number that it reads as.
    let filter = Filter::from_pairs([("address.city", "Bern"), ("zip", "003")])?;
    let mut query = Find {
        filter,
        limit: 2,
        page: PageStart::Offset(0),
        total: true,
    };
    loop {
        let page = engine.find("people", &query, Io::Allow)?;
        let ids = page
            .documents
            .iter()
            .map(|d| String::from_utf8_lossy(&d.id));
        println!(
            "page of {:?}, total {:?}",
            ids.collect::<Vec<_>>(),
            page.total
        );
        // A cursor is text to a client, and stays right while others write.
        let Some(cursor) = page.next_cursor else {
            break;
        };
        query.page = PageStart::After(cursor.to_string().parse()?);
    }

    // Everything, one after the other, as of now, in bounded memory.
    let stream = engine.find_stream("people", &Filter::all())?;
    let bytes = stream.map(|document| document.map(|d| d.json.len()));
    println!("{} bytes in all", bytes.sum::<Result<usize, _>>()?);
    engine.close()?;
    Ok(())
}
