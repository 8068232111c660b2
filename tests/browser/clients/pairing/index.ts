export * from './api-error.ts';
export * from './connection-api-service.ts';
export * from './connection-data.ts';
export * from './connection-service.ts';
export * from './connection-socket.ts';
export * from './mock-connection-api.ts';
