// 'gradmill/pruning': smaller networks that compute the same, or nearly.
export {};
