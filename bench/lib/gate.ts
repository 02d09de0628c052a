/** A way to the server that is shut at first: who connects waits, and is let through when it opens. */

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket, connect as toServer } from 'node:net';

export type Gate = {
  /** Of the server at this address, through the gate. */
  through(url: string): string;
  open(): void;
  /** Ends all connections. */
  close(): Promise<void>;
};

/** The server at this address is reached by TCP. */
export async function startGate(url: string): Promise<Gate> {
  const { hostname: host, port } = new URL(url);
  const sockets = new Set<Socket>();
  let waiting: Socket[] | undefined = [];
  const letThrough = (socket: Socket) => {
    const server = toServer({ host, port: Number(port || 5_432), noDelay: true });
    sockets.add(server);
    for (const [one, other] of [
      [socket, server],
      [server, socket],
    ] as const) {
      one.pipe(other);
      // Whoever ends one of the two hears it from its own client.
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
    }
  };
  const gate = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    if (waiting) waiting.push(socket.on('error', () => socket.destroy()));
    else letThrough(socket);
  });
  await once(gate.listen(0, '127.0.0.1'), 'listening');
  return {
    through: (address) => {
      const other = new URL(address);
      other.hostname = '127.0.0.1';
      other.port = String((gate.address() as AddressInfo).port);
      return other.href;
    },
    open: () => {
      for (const socket of waiting ?? []) letThrough(socket);
      waiting = undefined;
    },
    close: async () => {
      const closed = once(gate, 'close');
      gate.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
