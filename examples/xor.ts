// The smallest program: a network learns exclusive or. Run it with `npx tsx examples/xor.ts` after `npm install`.
import { adam, dense, sequential } from 'gradmill';

const x = [
  [0, 0],
  [0, 1],
  [1, 0],
  [1, 1],
];
const y = [[0], [1], [1], [0]];

const model = sequential({
  inputShape: [2],
  seed: 1,
  layers: [dense({ units: 8, activation: 'tanh' }), dense({ units: 1 })],
});
model.compile({ optimizer: adam({ learningRate: 0.05 }), loss: 'binaryCrossEntropy', metrics: ['accuracy'] });
const history = await model.fit(x, y, { epochs: 200, batchSize: 4 });

console.log(`loss ${String(history.loss[0])} → ${String(history.loss.at(-1))}`);
const { data } = await model.predict(x); // logits: below 0 for no, above for yes
x.forEach((row, i) => {
  console.log(`${row.join(' xor ')} = ${data[i] > 0 ? '1' : '0'}`);
});
