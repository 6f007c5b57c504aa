//! Standard input and output carried over a pipe, on Windows.

use nbtunnel_proto::client::Raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How much is carried at a time.
const PIECE: usize = 256 << 10;

/// Whoever read our output is gone.
#[derive(Debug)]
pub(crate) struct NobodyReads;

/// Carries both ways until nothing more comes from `connection`, of which `early` came already. A pipe knows no
/// half-close: the end of the input goes nowhere.
///
/// # Errors
/// [`NobodyReads`].
pub(crate) async fn carry(early: Vec<u8>, connection: Raw) -> Result<(), NobodyReads> {
    let (mut from, mut to) = tokio::io::split(connection);
    let up = async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to).await;
        std::future::pending().await
    };
    let down = async {
        let mut output = tokio::io::stdout();
        output.write_all(&early).await.map_err(|_| NobodyReads)?;
        let mut buffer = vec![0; PIECE];
        while let Ok(count) = from.read(&mut buffer).await
            && count > 0
        {
            output.write_all(&buffer[..count]).await.map_err(|_| NobodyReads)?;
            output.flush().await.map_err(|_| NobodyReads)?;
        }
        Ok(())
    };
    tokio::select! {
        () = up => Ok(()),
        ended = down => ended,
    }
}
