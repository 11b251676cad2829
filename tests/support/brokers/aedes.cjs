// aedes on a loopback port, everything in memory. The package is found through NODE_PATH.
const { createServer } = require('node:net')
const { Aedes } = require('aedes')

Aedes.createBroker().then((broker) => {
  createServer(broker.handle).listen(Number(process.argv[2]), '127.0.0.1')
})
