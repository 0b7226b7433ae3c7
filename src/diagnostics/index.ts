// 'gradmill/diagnostics': why a network learns, or does not. Every figure is measured on the engine, by instructions of a plan.
export {};
