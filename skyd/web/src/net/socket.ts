// WebSocket to the daemon: connects again after a failure, and delivers messages in batches.

export interface Message {
  namespace: string;
  type: string;
  uuid: string;
  status: number;
  object: unknown;
}

export interface SocketEvents {
  opened: () => void;
  /** A batch of messages, in order. */
  received: (messages: Message[]) => void;
  /** The connection was closed, or could not be opened `failures` times in a row. */
  closed: (failures: number) => void;
  /** Messages were discarded because too many waited. */
  overrun: (count: number) => void;
}

/** Delays of the attempts to connect, in milliseconds; the last one repeats. */
const DELAYS_MS = [500, 1000, 2000, 4000, 5000];
/** Time between the first message of a batch and its delivery: at most 20 batches per second. */
const BATCH_MS = 50;
/** More waiting messages than this are discarded; the owner then requests the graph again. */
const MAX_WAITING = 50_000;

export class LiveSocket {
  #socket: WebSocket | undefined;
  #failures = 0;
  #waiting: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly path: string,
    readonly events: SocketEvents,
  ) {}

  /** Connects, or connects again at once if an attempt is pending. */
  open(): void {
    clearTimeout(this.#retry);
    this.#socket?.close();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${this.path}`);
    this.#socket = socket;
    socket.onopen = () => {
      this.#failures = 0;
      this.events.opened();
    };
    socket.onmessage = (event) => this.#enqueue(String(event.data));
    socket.onclose = () => {
      if (this.#socket === socket) {
        this.#closed();
      }
    };
  }

  /** Closes the connection as if the daemon had done it. */
  drop(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
    this.#closed();
  }

  /** Closes the connection and does not connect again. */
  close(): void {
    clearTimeout(this.#retry);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  /** Sends a message; discards it while there is no connection. */
  send(namespace: string, type: string, uuid: string, object: unknown): void {
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify({ Namespace: namespace, Type: type, UUID: uuid, Obj: object }));
    }
  }

  #closed(): void {
    this.#socket = undefined;
    clearTimeout(this.#retry);
    const delay = DELAYS_MS[Math.min(this.#failures, DELAYS_MS.length - 1)] ?? 5000;
    this.#failures += 1;
    // Spread, so that the pages of many users do not return at the same moment.
    this.#retry = setTimeout(() => this.open(), delay * (0.8 + 0.4 * Math.random()));
    this.events.closed(this.#failures);
  }

  #enqueue(text: string): void {
    this.#waiting.push(text);
    if (this.#waiting.length > MAX_WAITING) {
      const count = this.#waiting.length;
      this.#waiting = [];
      this.events.overrun(count);
      return;
    }
    this.#timer ??= setTimeout(() => this.#deliver(), BATCH_MS);
  }

  #deliver(): void {
    this.#timer = undefined;
    const texts = this.#waiting;
    this.#waiting = [];
    this.events.received(texts.flatMap(parse));
  }
}

/** Returns the message of a text; nothing if it is malformed. */
function parse(text: string): Message[] {
  try {
    const raw: unknown = JSON.parse(text);
    if (typeof raw !== "object" || raw === null) {
      return [];
    }
    const { Namespace, Type, UUID, Status, Obj } = raw as Record<string, unknown>;
    const status = typeof Status === "number" ? Status : 0;
    return [{ namespace: String(Namespace), type: String(Type), uuid: String(UUID ?? ""), status, object: Obj }];
  } catch {
    return [];
  }
}
