// What the interactive interpreter adds to prelude.js: `native` are the functions of interpreter.rs.
(function (native) {
  'use strict';

  const Step = globalThis.Step, Base = globalThis.Error;

  function failure(name, message) {
    const error = new Base(message);
    error.name = name;
    return error;
  }

  // COMPAT: returns the body whatever the status is.
  function request(url, method, body) {
    if (arguments.length < 3 || [url, method, body].some(value => typeof value !== 'string')) {
      return failure('WrongArguments', 'Import requires 3 string parameters');
    }
    const [problem, text] = native.send(method, url, body);
    return problem ? failure(problem, text) : text;
  }

  globalThis.request = request;
  globalThis.client.request = function (url, method, body) {
    const text = request(String(url), String(method), body === undefined ? '' : String(body));
    if (text instanceof Base) return Promise.reject(text);
    return Promise.resolve(text.trim() === '' ? null : JSON.parse(text));
  };

  globalThis.run = function (path) {
    const [problem, text] = native.read(String(path));
    if (problem) return failure(problem, text);
    try {
      (0, eval)(text);
    } catch (error) {
      return failure('FailedToRun', String(error));
    }
    return null;
  };

  return {
    // A query that was built and not run is run.
    shown: value => value instanceof Step ? value.result() : value,
    isUndefined: value => value === undefined,
    // Names of the members of the value that a dotted path leads to.
    members(path) {
      let value = globalThis;
      for (const name of path === '' ? [] : path.split('.')) {
        if (value === null || value === undefined) return [];
        value = value[name];
      }
      const names = new Set();
      for (let at = value; at !== null && at !== undefined; at = Object.getPrototypeOf(at)) {
        if (at === Object.prototype && names.size > 0) break;
        if (typeof at !== 'object' && typeof at !== 'function') {
          at = Object(at);
        }
        for (const name of Object.getOwnPropertyNames(at)) {
          if (/^[A-Za-z_$][\w$]*$/.test(name) && name !== 'constructor') names.add(name);
        }
      }
      return Array.from(names).map(name => {
        try {
          return typeof value[name] === 'function' ? name + '(' : name;
        } catch (_) {
          return name;
        }
      }).sort();
    },
  };
})
