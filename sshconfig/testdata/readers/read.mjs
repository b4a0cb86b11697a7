// Reads ssh configurations as editors do that are written in JavaScript:
//
//	read.mjs FOLDER HOST... -- FILE...
//
// prints for each file what each of them knows of each host. FOLDER has the packages.
//
// How an Include is followed is open-remote-ssh's way (VSCodium and others without
// Microsoft's extension; src/ssh/sshConfig.ts of version 0.3.1), with the versions of the
// ssh-config package that it, and others, are built with.
import { readFileSync, existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import path from 'node:path';

const [folder, ...rest] = process.argv.slice(2);
const hosts = rest.slice(0, rest.indexOf('--'));
const files = rest.slice(rest.indexOf('--') + 1);
const require = createRequire(path.join(folder, 'here.js'));
const { globSync } = require('glob');

const untildify = (p) => p.replace(/^~(?=$|\/|\\)/, homedir());
const is = (SSHConfig, line, name) => line.type === SSHConfig.DIRECTIVE && line.param.toLowerCase() === name && line.value;

// follow reads a file, and in the place of each Include what it names.
function follow(SSHConfig, name, cwd) {
  const config = SSHConfig.parse(existsSync(name) ? readFileSync(name, 'utf8').trim() : '');
  for (let i = config.length - 1; i >= 0; i--) {
    if (!is(SSHConfig, config[i], 'include')) continue;
    const named = [];
    for (const value of String(config[i].value).split(',').map((s) => s.trim())) {
      for (const p of globSync(untildify(value), { absolute: true, cwd })) {
        named.push(...follow(SSHConfig, p, cwd));
      }
    }
    config.splice(i, 1, ...named);
  }
  return config;
}

// listed are the hosts that an editor shows.
function listed(SSHConfig, config) {
  const names = new Set();
  for (const line of config) {
    if (!is(SSHConfig, line, 'host')) continue;
    for (const name of Array.isArray(line.value) ? line.value.map((v) => v.val ?? v) : [line.value]) {
      if (!/^!|[?*]/.test(name)) names.add(name);
    }
  }
  return [...names];
}

// text is a value as one string. Older versions of the package give a command as its words.
const text = (value) => (Array.isArray(value) ? value.map((v) => (/\s/.test(v) ? `"${v}"` : v)).join(' ') : value);

function read(SSHConfig, file) {
  const config = follow(SSHConfig, file, path.dirname(file));
  const known = {};
  for (const host of hosts) {
    known[host] = {};
    for (const [key, value] of Object.entries(config.compute(host))) known[host][key.toLowerCase()] = text(value);
  }
  return { listed: listed(SSHConfig, config), hosts: known };
}

const out = {};
for (const name of ['ssh-config', 'open-remote-ssh-config', 'older-ssh-config']) {
  const SSHConfig = require(name).default ?? require(name);
  const reader = 'ssh-config ' + JSON.parse(readFileSync(path.join(folder, 'node_modules', name, 'package.json'))).version;
  out[reader] = Object.fromEntries(files.map((file) => [file, read(SSHConfig, file)]));
}
console.log(JSON.stringify(out));
