//! Two NICs on a backend that connects its two sockets: `pair A.sock B.sock [qemu|ch|dpdk] [qemu|ch|dpdk]`.
//!
//! Sends frames both ways in several shapes, stops and starts the rings, reboots a guest, and says what was
//! negotiated. A DPDK testpmd with two net_vhost ports in io forwarding is such a backend.

use std::error::Error;
use std::time::{Duration, Instant};

use espwire_frontend::{Nic, NicBuilder, Order, Placement, SendError, Side};
use espwire_virtnet::Features;

const PATIENCE: Duration = Duration::from_secs(20);

/// Changes a NIC to be made.
type Shape = fn(NicBuilder) -> NicBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [a, b, orders @ ..] = args.as_slice() else {
        return Err("pair A.sock B.sock [order] [order]".into());
    };
    let order = |i: usize| match orders.get(i).map(String::as_str) {
        None | Some("qemu") => Ok(Order::Qemu),
        Some("ch") => Ok(Order::CloudHypervisor),
        Some("dpdk") => Ok(Order::VirtioUser),
        Some(other) => Err(format!("no order {other}")),
    };
    let orders = [order(0)?, order(1)?];
    let shapes: [(&str, Shape); 6] = [
        ("plain", |b| b),
        ("own header, 3 pieces", |b| {
            let placement = Placement { own_header: true, pieces: 3 };
            b.tx_placement(placement).rx_placement(placement)
        }),
        ("indirect", |b| b.use_indirect(true).tx_placement(Placement::OWN_HEADER)),
        ("merged, 300-octet buffers", |b| b.rx_buffer_len(300)),
        ("no MRG_RXBUF", |b| b.without(Features::MRG_RXBUF)),
        ("no EVENT_IDX, ring of 64", |b| b.without(Features::EVENT_IDX).ring_size(64)),
    ];
    for (name, shape) in shapes {
        let nic = |i: usize| shape(Nic::builder().order(orders[i]).retry(true).lenient(true));
        let (mut a, mut b) = (nic(0).connect(a)?, nic(1).connect(b)?);
        meet(&mut a, &mut b)?;
        let rate = exchange(&mut a, &mut b)?;
        exchange(&mut b, &mut a)?;
        let bases = a.stop()?;
        a.start()?;
        exchange(&mut a, &mut b)?;
        b.reset()?;
        meet(&mut a, &mut b)?;
        exchange(&mut b, &mut a)?;
        let protocol = [a.negotiated()?.protocol.0, b.negotiated()?.protocol.0];
        let features = [a.negotiated()?.features.0, b.negotiated()?.features.0];
        println!(
            "{orders:?} {name}: features {features:x?} protocol {protocol:x?} stopped at {bases:?}, \
             {rate:.0} frames/s, kicks {} calls {}",
            a.kick_count(Side::Tx),
            b.call_count(Side::Rx)?
        );
        a.disconnect()?;
        b.hang_up();
    }
    Ok(())
}

/// A backend may need a while to bring its rings up and drops frames until then: sends until one arrives
/// each way, then waits for silence.
fn meet(a: &mut Nic, b: &mut Nic) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + PATIENCE;
    let (mut there, mut back) = (false, false);
    while !(there && back) {
        if Instant::now() > deadline {
            return Err(format!("no link: there {there}, back {back}").into());
        }
        a.send(&[1; 60])?;
        b.send(&[2; 60])?;
        there |= !b.drain(Duration::from_millis(20))?.is_empty();
        back |= !a.drain(Duration::from_millis(20))?.is_empty();
    }
    a.drain(Duration::from_millis(50))?;
    b.drain(Duration::from_millis(50))?;
    Ok(())
}

/// Sends frames of all lengths in bursts from one to the other and compares; returns frames per second.
fn exchange(from: &mut Nic, to: &mut Nic) -> Result<f64, Box<dyn Error>> {
    const FRAMES: usize = 20_000;
    let frame = |i: usize| -> Vec<u8> { (0..60 + i % 1455).map(|k| (i + k) as u8).collect() };
    let started = Instant::now();
    let (mut sent, mut received) = (0, 0);
    let mut buffer = Vec::new();
    while received < FRAMES {
        while sent < FRAMES && sent - received < 32 {
            match from.push(&frame(sent)) {
                Ok(()) => sent += 1,
                Err(SendError::Full) => break,
                Err(error) => return Err(error.into()),
            }
        }
        from.flush()?;
        buffer.clear();
        if !to.receive_into(&mut buffer)? {
            buffer = to.wait_receive(PATIENCE).map_err(|e| format!("{e} after {received} of {sent}"))?;
        }
        if buffer != frame(received) {
            return Err(format!("frame {received}: {} octets, wrong", buffer.len()).into());
        }
        received += 1;
    }
    from.wait_tx_idle(PATIENCE)?;
    Ok(FRAMES as f64 / started.elapsed().as_secs_f64())
}
