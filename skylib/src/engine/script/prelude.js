// Environment of alert expressions and workflows: evaluated before each script, in a context of its
// own. `native` are the functions of bridge.rs; the returned object is the driver that runtime.rs
// calls. Everything a script can change is read before the script runs.
(function (native) {
  'use strict';

  const {JSON, Object, Array, String, Number, Error, TypeError, Date, Promise, Math} = globalThis;
  const stringify = JSON.stringify, parse = JSON.parse, keysOf = Object.keys, now = Date.now;
  const exported = Object.create(null);

  const wellFormed = text => String(text).toWellFormed();

  function failure(name, message) {
    const error = new Error(message);
    error.name = name;
    return error;
  }

  // ---- Gremlin() and request(): strings in and out; failures are returned, not thrown ----------

  function Gremlin(text) {
    if (typeof text !== 'string') {
      return failure('MissingQueryArgument', 'Gremlin requires a string parameter');
    }
    const [problem, result] = native.gremlin(wellFormed(text));
    return problem ? failure(problem, result) : result;
  }

  function request(url, method, body) {
    if (arguments.length < 3 || [url, method, body].some(value => typeof value !== 'string')) {
      return failure('WrongArguments', 'Import requires 3 string parameters');
    }
    const parts = url.split('/');
    if (parts.length < 3) return failure('WrongArgument', 'Malformed URL ' + url);
    const resource = parts[2], id = parts[3] || '';
    if (resource === 'topology') {
      let query;
      try {
        query = parse(body).GremlinQuery;
      } catch (_) {
        return failure('WrongArgument', 'Invalid query ' + body);
      }
      return Gremlin(query);
    }
    const words = [resource, id, method.toUpperCase(), body].map(wellFormed);
    const [problem, result] = native.request(...words);
    if (problem) return failure(problem, result);
    return result === undefined ? null : result;
  }

  function sleep(ms) {
    if (arguments.length !== 1 || typeof ms !== 'number') {
      return failure('MissingArgument', 'Sleep requires a number parameter');
    }
    native.sleep(ms);
    return null;
  }

  // ---- Timers: run only while a promise is waited for ------------------------------------------

  class Timer {
    constructor(due, period, call) {
      this.due = due;
      this.period = period;
      this.call = call;
    }
  }

  const timers = new Set();

  function timer(name, repeats) {
    return function (callback, ms, ...rest) {
      if (arguments.length < 1) {
        throw new TypeError("Failed to execute '" + name +
          "': 1 argument required, but only 0 present.");
      }
      const delay = Math.max(Number(ms) || 0, 1);
      const call = typeof callback === 'function' ? () => callback(...rest) : () => {};
      const made = new Timer(now() + delay, repeats ? delay : 0, call);
      timers.add(made);
      return made;
    };
  }

  function clearTimer(made) {
    timers.delete(made);
  }

  // ---- Console ----------------------------------------------------------------------------------

  function shown(value) {
    if (typeof value === 'string') return value;
    try {
      return value instanceof Error ? String(value) : exportValue(value, []);
    } catch (_) {
      return String(value);
    }
  }

  const console = {};
  for (const level of ['debug', 'log', 'info', 'warn', 'error', 'trace']) {
    console[level] = (...values) => native.log(level, wellFormed(values.map(shown).join(' ')));
  }

  // ---- Predicates and words ---------------------------------------------------------------------

  class Predicate {
    constructor(name, values) {
      this.name = name;
      this.values = values;
    }

    toString() {
      return this.name + '(' + this.values.map(value => argument(value)).join(', ') + ')';
    }
  }

  const PREDICATES = ['NE', 'NEE', 'GT', 'LT', 'GTE', 'LTE', 'IPV4RANGE', 'IPV6RANGE', 'REGEX',
    'WITHIN', 'WITHOUT', 'INSIDE', 'OUTSIDE', 'BETWEEN'];
  for (const name of PREDICATES) exported[name] = (...values) => new Predicate(name, values);
  exported.Metadata = (...values) => new Predicate('Metadata', values);

  class Word {
    constructor(text) {
      this.text = text;
    }

    toString() {
      return this.text;
    }
  }

  for (const word of ['DESC', 'ASC', 'NOW', 'FOREVER']) exported[word] = new Word(word);

  // The language has no escapes: a string that contains a quote is matched by an equivalent
  // pattern.
  function argument(value, isValue) {
    if (typeof value !== 'string') return String(value);
    if (!/['"\0]/.test(value)) return '"' + value + '"';
    if (!isValue) throw new TypeError('a Gremlin text cannot contain a quote: ' + value);
    const hex = unit => '\\x{' + unit.codePointAt(0).toString(16) + '}';
    return 'REGEX("' + value.replace(/[^\p{L}\p{N} ]/gu, hex) + '")';
  }

  // ---- Query builder ----------------------------------------------------------------------------

  class Step {
    constructor(api, previous, name, values) {
      this.api = api;
      this.previous = previous;
      this.name = name;
      this.values = values;
    }

    toString() {
      if (!this.previous) return 'G';
      const pairs = this.name === 'Has' || this.name === 'HasEither';
      const texts = this.values.map((value, index) => argument(value, pairs && index % 2 === 1));
      return this.previous + '.' + this.name + '(' + texts.join(', ') + ')';
    }

    result() {
      return this.convert(this.api.query(this.toString()));
    }

    serialize() {
      return this.toString();
    }
  }

  const list = make => answer => Array.isArray(answer) ? answer.map(make) : [];

  function object(Class) {
    return value => value && typeof value === 'object' ? Object.assign(new Class(), value) : value;
  }

  function keyed(Class) {
    const convert = list(object(Class));
    return answer => {
      const found = Array.isArray(answer) ? answer[0] : answer, result = {};
      for (const key of keysOf(found || {})) {
        result[key] = Array.isArray(found[key]) ? convert(found[key]) : found[key];
      }
      return result;
    };
  }

  class APIObject {}
  class GraphElement {}
  class GraphNode extends GraphElement {}
  class GraphEdge extends GraphElement {}
  class Flow {}
  class FlowLayer {}
  class FlowMetric {}
  class ICMPLayer {}
  class TCPMetric {}
  class Metric {}
  class RawPacket {}
  class Socket {}
  class SerializationHelper {}

  class Graph {
    constructor(nodes, edges) {
      this.Nodes = nodes || [];
      this.Edges = edges || [];
    }
  }

  function graph(answer) {
    const found = (Array.isArray(answer) ? answer[0] : answer) || {};
    return {
      Nodes: list(object(GraphNode))(found.Nodes || []),
      Edges: list(object(GraphEdge))(found.Edges || []),
    };
  }

  const value = answer => answer === undefined ? null : answer;
  const CONVERSIONS = {
    graph,
    nodes: list(object(GraphNode)),
    edges: list(object(GraphEdge)),
    flows: list(object(Flow)),
    paths: list(path => list(object(GraphNode))(path)),
    values: value,
    metrics: keyed(Metric),
    sockets: keyed(Socket),
    packets: keyed(RawPacket),
    groups: keyed(Flow),
    hops: keyed(Object),
  };

  // The kind of result of each step; '' is the kind of the step before.
  const STEPS = {
    V: 'nodes', E: 'edges', Flows: 'flows', At: '', Context: '', Has: '', HasEither: '', HasKey: '',
    HasNot: '', Dedup: '', Range: '', Limit: '', Sort: '', As: '', In: 'nodes', Out: 'nodes',
    Both: 'nodes', InV: 'nodes', OutV: 'nodes', BothV: 'nodes', InE: 'edges', OutE: 'edges',
    BothE: 'edges', Nodes: 'nodes', Hops: 'nodes', CaptureNode: 'nodes', Select: 'nodes',
    Descendants: 'nodes', Ascendants: 'nodes', Neighbors: 'nodes', ShortestPathTo: 'paths',
    Subgraph: 'graph', SubGraph: 'graph', Count: 'values', Values: 'values', ValueMap: 'values',
    Keys: 'values', Sum: 'values', Metrics: 'metrics', Aggregates: 'metrics', Sockets: 'sockets',
    RawPackets: 'packets', BPF: 'packets', Group: 'groups', MoreThan: 'groups', NextHops: 'hops',
    NextHop: 'hops', Workflow: 'graph', Node: 'nodes', GroupBy: 'values', PathTo: 'values',
    Qualified: 'values', Changes: 'values',
  };

  // A kind of result is a class whose methods are the steps.
  const KINDS = {};
  for (const kind of keysOf(CONVERSIONS)) {
    const convert = CONVERSIONS[kind];
    KINDS[kind] = {[kind]: class extends Step {
      convert(answer) {
        return convert(answer);
      }
    }}[kind];
  }
  for (const kind of keysOf(KINDS)) {
    for (const name of keysOf(STEPS)) {
      const next = STEPS[name] || kind;
      KINDS[kind].prototype[name] = function (...values) {
        return new KINDS[next](this.api, this, name, values);
      };
    }
  }
  for (const name of keysOf(STEPS)) exported[name] = KINDS[STEPS[name] || 'nodes'];
  exported.G = KINDS.graph;

  class GremlinAPI {
    G() {
      return new KINDS.graph(this, null, 'G', []);
    }

    query(text) {
      const answer = Gremlin(text);
      return typeof answer === 'string' ? parse(answer) : null;
    }
  }

  // ---- Resources --------------------------------------------------------------------------------

  class API {
    constructor(resource, Factory) {
      this.Resource = resource;
      this.Factory = Factory;
    }

    ask(method, id, body) {
      const answer = request('/api/' + this.Resource + (id ? '/' + id : ''), method, body);
      return typeof answer === 'string' ? parse(answer) : null;
    }

    create(resource) {
      return this.ask('POST', '', stringify(resource));
    }

    list() {
      return this.ask('GET', '', '') || {};
    }

    get(id) {
      return this.ask('GET', String(id), '');
    }

    delete(id) {
      request('/api/' + this.Resource + '/' + String(id), 'DELETE', '');
      return Promise.resolve(null);
    }
  }

  class Alert extends APIObject {}
  class Capture extends APIObject {}
  class EdgeRule extends APIObject {}
  class NodeRule extends APIObject {}
  class PacketInjection extends APIObject {}
  class Workflow extends APIObject {}

  class Client {
    constructor() {
      this.baseURL = this.username = this.password = this.cookie = '';
      this.alerts = new API('alert', Alert);
      this.captures = new API('capture', Capture);
      this.edgeRules = new API('edgerule', EdgeRule);
      this.nodeRules = new API('noderule', NodeRule);
      this.packetInjections = new API('injectpacket', PacketInjection);
      this.workflows = new API('workflow', Workflow);
      this.gremlin = new GremlinAPI();
      this.G = this.gremlin.G();
    }

    login() {
      return Promise.resolve(true);
    }

    request(url, method, body) {
      const answer = request(url, method, body);
      if (answer instanceof Error) return Promise.reject(answer);
      return Promise.resolve(answer === null || answer === '' ? null : parse(answer));
    }
  }

  class UUID {
    constructor(version, namespace, name) {
      const words = [version, namespace, name].map(word => word === undefined ? '' : word);
      const text = native.uuid(...words.map(wellFormed));
      if (!text) throw new TypeError('UUID: version 1, 3, 4 or 5, and a namespace such as ns:URL');
      this.text = text;
    }

    format() {
      return this.text;
    }

    toString() {
      return this.text;
    }
  }

  // COMPAT: promises of Skydive have `done`, which is `then` without a result.
  const chain = Promise.prototype.then;
  Object.defineProperty(Promise.prototype, 'done', {
    configurable: true,
    writable: true,
    value: function done(fulfilled, rejected) {
      chain.call(this, fulfilled, rejected);
    },
  });

  // ---- Globals ----------------------------------------------------------------------------------

  Object.assign(exported, {
    Gremlin, request, sleep, console, UUID, API, APIObject, Alert, Capture, Client, EdgeRule, Flow,
    FlowLayer, FlowMetric, Graph, GraphEdge, GraphElement, GraphNode, GremlinAPI, ICMPLayer, Metric,
    NodeRule, PacketInjection, RawPacket, SerializationHelper, Socket, TCPMetric, Workflow, Promise,
    Predicate, Step,
    setTimeout: timer('setTimeout', false),
    setInterval: timer('setInterval', true),
    clearTimeout: clearTimer,
    clearInterval: clearTimer,
    client: new Client(),
  });
  const all = Object.assign({}, exported);
  Object.assign(globalThis, exported, {api: all, exports: all, require: () => all});

  // ---- Results ----------------------------------------------------------------------------------

  const compare = (one, other) => one < other ? -1 : one > other ? 1 : 0;
  // Names are sorted by their bytes, which is not the order of UTF-16 beyond the basic plane.
  const byBytes = (one, other) => {
    const a = Array.from(one, c => c.codePointAt(0)), b = Array.from(other, c => c.codePointAt(0));
    for (let i = 0; i < a.length && i < b.length; i++) {
      if (a[i] !== b[i]) return compare(a[i], b[i]);
    }
    return compare(a.length, b.length);
  };

  // Returns the JSON text of a value; `parents` are the objects that contain it.
  function exportValue(value, parents) {
    switch (typeof value) {
      case 'number':
        return value === value && value !== Infinity && value !== -Infinity ? String(value) : 'null';
      case 'string':
        return stringify(value.toWellFormed());
      case 'boolean':
        return value ? 'true' : 'false';
      case 'bigint':
        return String(value);
      case 'function':
        return '{}';
      case 'object':
        break;
      default:
        return 'null';
    }
    if (value === null) return 'null';
    if (parents.includes(value)) throw new TypeError('the result contains itself');
    if (value instanceof Date) {
      return value.getTime() === value.getTime() ? stringify(value.toISOString()) : 'null';
    }
    if (value instanceof String || value instanceof Number) {
      return exportValue(value.valueOf(), parents);
    }
    parents.push(value);
    let text;
    if (Array.isArray(value)) {
      const items = [];
      for (let i = 0; i < value.length; i++) items.push(exportValue(value[i], parents));
      text = '[' + items.join(',') + ']';
    } else if (value instanceof Error) {
      const {name, message} = value;
      text = '{"name":' + exportValue(String(name), parents) +
        ',"message":' + exportValue(String(message), parents) + '}';
    } else {
      const members = [];
      for (const key of keysOf(value).sort(byBytes)) {
        if (value[key] === undefined) continue;
        members.push(stringify(key.toWellFormed()) + ':' + exportValue(value[key], parents));
      }
      text = '{' + members.join(',') + '}';
    }
    parents.pop();
    return text;
  }

  // Returns the JSON text of a result for which an alert fires; '' if it does not fire.
  function exportTruth(value) {
    if (value instanceof Error) throw value;
    if (!value || value instanceof Date) return '';
    if (Array.isArray(value) ? !value.length : typeof value === 'object' && !keysOf(value).length) {
      return '';
    }
    return typeof value === 'function' ? '' : exportValue(value, []);
  }

  // ---- Driver -----------------------------------------------------------------------------------

  const Native = Promise, then = Promise.prototype.then;
  let state = 'pending', result;

  function settle(value) {
    state = 'pending';
    if (value instanceof Native) {
      const done = kind => settled => {
        state = kind;
        result = settled;
      };
      then.call(value, done('done'), done('failed'));
    } else {
      state = 'done';
      result = value;
    }
  }

  return {
    call(source, params) {
      if (typeof source !== 'function') throw new TypeError('the source is not a function');
      settle(source.apply(source, parse(params)));
    },
    settle,
    isPending: () => state === 'pending',
    // Milliseconds until the next timer; -1 without timers.
    nextTimer() {
      let next = -1;
      for (const {due} of timers) {
        const wait = Math.max(due - now(), 0);
        if (next < 0 || wait < next) next = wait;
      }
      return next;
    },
    fireTimers() {
      const time = now();
      const due = Array.from(timers).filter(made => made.due <= time);
      for (const made of due.sort((one, other) => one.due - other.due)) {
        if (!timers.has(made)) continue;
        if (made.period) made.due = time + made.period;
        else timers.delete(made);
        try {
          made.call();
        } catch (error) {
          console.error(describe(error));
        }
      }
    },
    result() {
      if (state === 'failed') throw result;
      return exportValue(result, []).toWellFormed();
    },
    truth() {
      if (state === 'failed') throw result;
      return exportTruth(result).toWellFormed();
    },
    describe,
  };

  function describe(error) {
    try {
      return wellFormed(error);
    } catch (_) {
      return 'the script threw a value without a text';
    }
  }
})
