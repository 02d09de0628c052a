// Reads .env of the working directory, where there is one, before a script starts.
try {
  process.loadEnvFile();
} catch (error) {
  if (error.code !== 'ENOENT') throw error;
}
